"""Strategies for everything that one node may say to another, within the order and ranges that the codec promises."""

from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from kvproto.command_pb2 import CommandBatch

from kvstore.paxos.messages import (
    Accept,
    Accepted,
    AcceptedEntry,
    CatchUp,
    Decided,
    Heartbeat,
    HeartbeatReply,
    Nack,
    Prepare,
    Promise,
    SnapshotOffer,
    Suspect,
    SuspectReply,
    Transfer,
)
from kvstore.paxos.types import ZERO_BALLOT, Application, Ballot, Configuration, NodeId, Noop, Slot
from kvstore.replica.messages import Forward, ForwardReply, ReadIndex, ReadIndexReply
from kvstore.transport.codec import NUMBER_MAX, PeerMessage

EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For a machine that does other things too."""

NUMBERS = st.integers(0, 2**64 - 1)
SLOTS = st.integers(0, NUMBER_MAX).map(Slot)
NODE_IDS = st.integers(1, 2**32 - 1).map(NodeId)
SECONDS = st.floats(allow_nan=False, allow_infinity=False)
ADDRESSES = st.text("az09.:-[]é\N{SNOWMAN}", max_size=20)
BALLOTS = st.builds(Ballot, st.integers(1, NUMBER_MAX), NODE_IDS)


@st.composite
def _configurations(draw: st.DrawFn) -> Configuration:
    members = draw(st.lists(NODE_IDS, min_size=1, max_size=7, unique=True))
    voters = draw(st.integers(1, len(members)))
    addresses = {member: draw(ADDRESSES) for member in sorted(draw(st.sets(st.sampled_from(members))))}
    return Configuration(
        draw(st.integers(0, NUMBER_MAX)),
        tuple(sorted(members[:voters])),
        tuple(members[voters:]),
        addresses,
        lease_ms=draw(st.integers(0, 2**32 - 1)),
    )


VALUES = st.one_of(st.just(Noop()), st.binary(max_size=200).map(Application), _configurations())


@st.composite
def _promises(draw: st.DrawFn) -> Promise:
    # No larger: the rest of the page must fit below NUMBER_MAX.
    slot = from_slot = draw(st.integers(0, NUMBER_MAX - 10**4))
    entries = []
    for gap in draw(st.lists(st.integers(0, 100), max_size=5)):
        slot += gap
        entries.append(AcceptedEntry(Slot(slot), draw(BALLOTS), draw(VALUES)))
        slot += 1
    ends = st.integers(max(slot, from_slot + 1), NUMBER_MAX).map(Slot)
    return Promise(draw(BALLOTS), Slot(from_slot), tuple(entries), draw(st.none() | ends), draw(SLOTS), draw(SLOTS))


@st.composite
def _decided(draw: st.DrawFn) -> Decided:
    first = draw(st.integers(0, NUMBER_MAX - 10))
    count = draw(st.integers(0, 5))
    entries = tuple(AcceptedEntry(Slot(first + n), draw(BALLOTS), draw(VALUES)) for n in range(count))
    return Decided(entries, draw(st.integers(first + count, NUMBER_MAX).map(Slot)))


@st.composite
def _accepted(draw: st.DrawFn) -> Accepted:
    start = draw(st.integers(0, NUMBER_MAX - 1))
    return Accepted(draw(BALLOTS), Slot(start), Slot(draw(st.integers(start + 1, NUMBER_MAX))))


@st.composite
def _batches(draw: st.DrawFn) -> CommandBatch:
    batch = CommandBatch()
    for sequence in draw(st.lists(st.integers(1, NUMBER_MAX), max_size=4)):
        entry = batch.entries.add(session=draw(st.integers(1, NUMBER_MAX)), sequence=sequence)
        entry.put.key, entry.put.value = draw(st.binary(max_size=20)), draw(st.binary(max_size=200))
        entry.unanswered_from = draw(st.integers(0, sequence))
    return batch


BATCHES = _batches()

BY_TYPE: dict[Callable[..., PeerMessage], st.SearchStrategy[PeerMessage]] = {
    Suspect: st.builds(Suspect, NUMBERS),
    SuspectReply: st.builds(SuspectReply, NUMBERS, st.booleans(), BALLOTS | st.just(ZERO_BALLOT), SLOTS),
    Prepare: st.builds(Prepare, BALLOTS, SLOTS, st.none() | BALLOTS),
    Promise: _promises(),
    Accept: st.builds(Accept, BALLOTS, st.integers(0, NUMBER_MAX - 1).map(Slot), VALUES, SLOTS),
    Accepted: _accepted(),
    Nack: st.builds(Nack, BALLOTS),
    Heartbeat: st.builds(Heartbeat, BALLOTS, SLOTS, NUMBERS, SECONDS),
    HeartbeatReply: st.builds(HeartbeatReply, BALLOTS, NUMBERS, SECONDS, SLOTS, SECONDS),
    CatchUp: st.builds(CatchUp, SLOTS),
    Decided: _decided(),
    SnapshotOffer: st.builds(SnapshotOffer, SLOTS, SLOTS),
    Transfer: st.builds(Transfer, BALLOTS),
    Forward: st.builds(Forward, NUMBERS, BATCHES),
    ForwardReply: st.builds(ForwardReply, NUMBERS),
    ReadIndex: st.builds(ReadIndex, NUMBERS),
    ReadIndexReply: st.builds(ReadIndexReply, NUMBERS, st.booleans(), SLOTS),
}

MESSAGES = st.one_of(*BY_TYPE.values())
