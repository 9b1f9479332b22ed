"""The durability gate (L2): what waits, for how long, and what may be merged meanwhile."""

import pytest

from kvstore.paxos.durable import AcceptRecord, PromiseRecord, Write
from kvstore.paxos.gate import Gate
from kvstore.paxos.messages import Accepted, Envelope, Message, Prepare
from kvstore.paxos.types import ZERO_BALLOT, Ballot, WriteId

from .bench import app, ballot, node, slot

B = ballot(1, 1)


def envelope(message: Message, to: int = 2) -> Envelope:
    return Envelope(node(to), message)


def accepted(start: int, end: int | None = None, *, at: Ballot = B, to: int = 2) -> Envelope:
    return envelope(Accepted(at, slot(start), slot(start + 1 if end is None else end)), to)


def record(gate: Gate, number: int = 0) -> None:
    gate.record(AcceptRecord(slot(number), B, app(str(number))))


def take(gate: Gate) -> Write:
    write = gate.take_write()
    assert write is not None
    return write


def test_with_nothing_recorded_a_message_leaves_at_once() -> None:
    gate = Gate(durable_promise=ZERO_BALLOT)
    assert gate.send_when_durable(accepted(0)) == accepted(0)
    assert gate.take_write() is None


def test_a_message_waits_for_the_write_that_carries_its_records() -> None:
    """Not when it is taken, only when it is reported persisted."""
    gate = Gate(durable_promise=ZERO_BALLOT)
    record(gate)
    assert gate.send_when_durable(accepted(0)) is None
    write = take(gate)
    assert write == Write(WriteId(1), (AcceptRecord(slot(0), B, app("0")),))
    assert gate.take_write() is None
    assert gate.send_when_durable(accepted(9)) is None, "the write is out, but not durable"
    assert gate.persisted(write.write_id) == [accepted(0), accepted(9)]
    assert gate.send_when_durable(accepted(1)) == accepted(1)


def test_a_later_write_persisted_stands_for_the_earlier_ones() -> None:
    gate = Gate(durable_promise=ZERO_BALLOT)
    record(gate, 0)
    gate.send_when_durable(accepted(0))
    take(gate)
    record(gate, 5)
    gate.send_when_durable(accepted(5))
    second = take(gate)
    assert gate.persisted(second.write_id) == [accepted(0), accepted(5)]


def test_an_earlier_write_releases_only_what_it_carries() -> None:
    gate = Gate(durable_promise=ZERO_BALLOT)
    record(gate, 0)
    gate.send_when_durable(accepted(0))
    first = take(gate)
    record(gate, 5)
    gate.send_when_durable(accepted(5))
    second = take(gate)
    assert gate.persisted(first.write_id) == [accepted(0)]
    assert gate.persisted(first.write_id) == [], "a repeated report releases nothing twice"
    assert gate.persisted(second.write_id) == [accepted(5)]


def test_neighbouring_accepted_of_one_ballot_become_one_run() -> None:
    gate = Gate(durable_promise=ZERO_BALLOT)
    for number in (3, 4, 5):
        record(gate, number)
        assert gate.send_when_durable(accepted(number)) is None
    assert gate.persisted(take(gate).write_id) == [accepted(3, 6)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (accepted(3), accepted(5)),
        (accepted(3), accepted(4, to=3)),
        (accepted(3), accepted(4, at=ballot(2, 2))),
        (accepted(3), accepted(2)),
        (accepted(3), envelope(Prepare(B, slot(4)))),
    ],
    ids=["a hole", "another receiver", "another ballot", "backwards", "another message"],
)
def test_other_messages_are_not_merged(first: Envelope, second: Envelope) -> None:
    """A run never spans a hole, a receiver or a ballot."""
    gate = Gate(durable_promise=ZERO_BALLOT)
    record(gate)
    gate.send_when_durable(first)
    gate.send_when_durable(second)
    assert gate.persisted(take(gate).write_id) == [first, second]


def test_runs_do_not_grow_over_two_writes() -> None:
    """The second half of the run is not durable when the first write is."""
    gate = Gate(durable_promise=ZERO_BALLOT)
    record(gate, 3)
    gate.send_when_durable(accepted(3))
    first = take(gate)
    record(gate, 4)
    gate.send_when_durable(accepted(4))
    second = take(gate)
    assert gate.persisted(first.write_id) == [accepted(3)]
    assert gate.persisted(second.write_id) == [accepted(4)]


def test_the_durable_promise_follows_the_disk_not_the_memory() -> None:
    gate = Gate(durable_promise=B)
    gate.record(PromiseRecord(ballot(2, 2)))
    first = take(gate)
    gate.record(PromiseRecord(ballot(3, 3)))
    second = take(gate)
    assert gate.durable_promise == B
    gate.persisted(first.write_id)
    assert gate.durable_promise == ballot(2, 2)
    gate.persisted(second.write_id)
    assert gate.durable_promise == ballot(3, 3)


def test_a_write_that_was_never_handed_out_cannot_be_persisted() -> None:
    gate = Gate(durable_promise=ZERO_BALLOT)
    record(gate)
    with pytest.raises(AssertionError, match="never handed out"):
        gate.persisted(WriteId(1))
