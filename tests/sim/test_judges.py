"""The judges: each law is broken once, and seen. Who keeps watch is watched here.

Some laws are broken by telling a judge of what no correct node does, others by a mistake that is made in the production
code for the length of a run.
"""

from collections.abc import Callable
from typing import Any

import pytest
from kvproto.command_pb2 import CommandBatch

from kvstore.mvcc import commands
from kvstore.mvcc.sessions import Sessions
from kvstore.mvcc.state_hash import StateHash
from kvstore.mvcc.store import Store
from kvstore.paxos.acceptor import Acceptor
from kvstore.paxos.durable import AcceptRecord, LearnRecord, PromiseRecord, Record, Write
from kvstore.paxos.effects import DecidedValue, ReadReady
from kvstore.paxos.follower import Follower
from kvstore.paxos.gate import Gate
from kvstore.paxos.leadership import Leadership
from kvstore.paxos.messages import Accept, Accepted, AcceptedEntry, Heartbeat, HeartbeatReply, Prepare, Promise
from kvstore.paxos.phase_one import PhaseOne
from kvstore.paxos.types import Application, Ballot, Configuration, NodeId, Noop, ReadId, Slot, Value, WriteId
from kvstore.testing.sim import LawBroken, Simulation
from kvstore.testing.sim.consensus_judge import ConsensusJudge
from kvstore.testing.sim.laws import Broken, Ledger
from kvstore.testing.sim.state_judge import StateJudge

N1, N2, N3 = NODES = (NodeId(1), NodeId(2), NodeId(3))
B1, B2 = Ballot(1, N1), Ballot(2, N2)
S0, S1 = Slot(0), Slot(1)
V, W = Application(b""), Application(b"\x12\x02\x08\x01")


class Told:
    """A judge, and what a story tells it."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.ran_s = 0.0
        first = Configuration(epoch=1, voters=NODES)
        self.judge = ConsensusJudge(
            self.ledger, NODES, first, alpha=4, inflight_slots_max=2, ran_s=lambda _: self.ran_s
        )
        self.states = StateJudge(self.ledger, NODES, self.judge)
        self._writes = 0

    def durable(self, node: NodeId, *records: Record) -> None:
        self._writes += 1
        self.judge.durable(node, Write(WriteId(self._writes), records))

    def leads(self, ballot: Ballot, *promises: Promise) -> None:
        """Phase 1 of ``ballot`` as it should be: its owner and two others, or these promises."""
        self.durable(ballot.node_id, PromiseRecord(ballot))
        self.judge.lets_out(ballot.node_id, Prepare(ballot, S0))
        other = next(n for n in NODES if n != ballot.node_id)
        self.durable(other, PromiseRecord(ballot))
        for promise in promises or (Promise(ballot, S0, (), None, S0, S0),):
            self.judge.lets_out(other, promise)
            self.judge.takes(ballot.node_id, other, promise)

    def chooses(self, slot: Slot, ballot: Ballot, value: Value) -> None:
        """Phase 2 as it should be, with two votes."""
        self.judge.lets_out(ballot.node_id, Accept(ballot, slot, value, S0))
        for node in (N1, N2):
            self.durable(node, AcceptRecord(slot, ballot, value))


@pytest.fixture
def told() -> Told:
    return Told()


def test_a_promise_and_a_vote_below_the_promise(told: Told) -> None:
    """L1: what is durable never goes back."""
    told.durable(N3, PromiseRecord(B2))
    with pytest.raises(Broken, match="L1"):
        told.durable(N3, PromiseRecord(B1))
    with pytest.raises(Broken, match="L1"):
        told.durable(N3, AcceptRecord(S0, B1, V))


def test_messages_that_leave_before_their_write_is_durable(told: Told) -> None:
    """L2: a promise, what it reports, a vote and a new ballot."""
    for message in (Promise(B2, S0, (), None, S0, S0), Accepted(B2, S0, S1)):
        with pytest.raises(Broken, match="L2"):
            told.judge.lets_out(N3, message)
    for message in (Prepare(B2, S0), Heartbeat(B2, S0, 1, 0.0)):
        with pytest.raises(Broken, match="L2"):
            told.judge.lets_out(N2, message)
    told.durable(N3, PromiseRecord(B2))
    with pytest.raises(Broken, match="L2"):
        told.judge.lets_out(N3, Promise(B2, S0, (AcceptedEntry(S0, B1, V),), None, S0, S0))


def test_a_promise_that_the_disk_forgot(told: Told) -> None:
    """L2: a process recovers what was durable, no less."""
    told.durable(N3, PromiseRecord(B2))
    with pytest.raises(Broken, match="L2"):
        told.judge.process_started(N3, promised=B1, decided_end=S0)


def test_a_recovered_ballot_that_is_used_again(told: Told) -> None:
    """L3: and one of somebody else."""
    told.leads(B1)
    told.judge.process_started(N1, promised=B1, decided_end=S0)
    with pytest.raises(Broken, match="L3"):
        told.judge.lets_out(N1, Prepare(B1, S0))
    with pytest.raises(Broken, match="L3"):
        told.judge.lets_out(N1, Prepare(B2, S0))


def test_two_values_of_one_ballot_in_a_slot(told: Told) -> None:
    """L3: proposed, or voted for."""
    told.leads(B1)
    told.judge.lets_out(N1, Accept(B1, S0, V, S0))
    with pytest.raises(Broken, match="L3"):
        told.judge.lets_out(N1, Accept(B1, S0, W, S0))
    with pytest.raises(Broken, match="L3"):
        told.durable(N2, AcceptRecord(S0, B1, W))


def test_a_leader_without_a_quorum_of_whole_promises(told: Told) -> None:
    """L4: no promise at all, and one whose last page is missing."""
    told.durable(N1, PromiseRecord(B1))
    with pytest.raises(Broken, match="L4"):
        told.judge.lets_out(N1, Accept(B1, S0, V, S0))
    told.leads(B2, Promise(B2, S0, (), S1, S0, S0))
    with pytest.raises(Broken, match="L4"):
        told.judge.lets_out(N2, Accept(B2, S0, V, S0))


def test_a_leader_that_ignores_what_it_was_told(told: Told) -> None:
    """L4: the value of the highest ballot reported, and slots that are over."""
    told.leads(B1)
    told.judge.lets_out(N1, Accept(B1, S0, V, S0))
    told.durable(N1, AcceptRecord(S0, B1, V))
    told.leads(B2, Promise(B2, S0, (AcceptedEntry(S0, B1, V),), None, S0, S1))
    with pytest.raises(Broken, match="L4"):
        told.judge.lets_out(N2, Accept(B2, S0, W, S0))


def test_a_value_that_may_yet_be_chosen_below(told: Told) -> None:
    """L4, P2b: nobody told the second leader of the first one's value, though a quorum may still accept it."""
    told.leads(B1)
    told.judge.lets_out(N1, Accept(B1, S0, V, S0))
    told.durable(N1, AcceptRecord(S0, B1, V))
    lying = Promise(B2, S0, (), None, S0, S0)
    told.judge.takes(N2, N1, lying)
    told.durable(N2, PromiseRecord(B2))
    with pytest.raises(Broken, match="may yet be chosen"):
        told.judge.lets_out(N2, Accept(B2, S0, W, S0))


def test_decisions_that_nothing_bears_out(told: Told) -> None:
    """L5: a slot in which nothing is chosen, another value, a claim, and an answer to who asks."""
    with pytest.raises(Broken, match="L5"):
        told.judge.decides(N1, DecidedValue(S0, V, None))
    with pytest.raises(Broken, match="L5"):
        told.judge.lets_out(N3, HeartbeatReply(B1, 1, 0.0, S1))
    told.leads(B1)
    told.chooses(S0, B1, V)
    with pytest.raises(Broken, match="L5"):
        told.judge.decides(N1, DecidedValue(S0, W, None))
    with pytest.raises(Broken, match="L5"):
        told.durable(N3, LearnRecord(S0, B1, W))
    told.judge.decides(N1, DecidedValue(S0, V, None))


def test_slots_out_of_order(told: Told) -> None:
    """L6: a gap in what is decided, a value applied twice, and one that was not decided there."""
    told.leads(B1)
    told.chooses(S0, B1, Noop())
    told.chooses(S1, B1, V)
    with pytest.raises(Broken, match="L6"):
        told.judge.decides(N1, DecidedValue(S1, V, None))
    told.judge.decides(N1, DecidedValue(S0, Noop(), None))
    told.judge.decides(N1, DecidedValue(S1, V, None))
    with pytest.raises(Broken, match="L6"):
        told.states.applies(N1, S1, CommandBatch(), [])
    told.states.applies(N1, S0, None, [])
    with pytest.raises(Broken, match="L6"):
        told.states.applies(N1, S0, None, [])
    told = Told()
    told.leads(B1)
    told.chooses(S0, B1, V)
    told.judge.decides(N1, DecidedValue(S0, V, None))
    with pytest.raises(Broken, match="L6"):
        told.states.applies(N1, S0, None, [])


def test_a_confirmation_that_began_before_the_read(told: Told) -> None:
    """L7: an answer to an older round proves nothing; one to a round begun since does."""
    told.leads(B1)
    told.judge.lets_out(N1, Heartbeat(B1, S0, 1, 0.0))
    told.judge.asks_to_confirm(N1, ReadId(1))
    told.judge.asks_to_confirm(N1, ReadId(2))
    told.judge.takes(N1, N2, HeartbeatReply(B1, 1, 0.0, S0))
    with pytest.raises(Broken, match="L7"):
        told.judge.read_is_ready(N1, ReadReady(ReadId(1), S0), decided_before=S0)
    told.judge.lets_out(N1, Heartbeat(B1, S0, 2, 0.0))
    told.judge.takes(N1, N2, HeartbeatReply(B1, 2, 0.0, S0))
    told.judge.read_is_ready(N1, ReadReady(ReadId(2), S0), decided_before=S0)


def test_a_read_confirmed_by_a_leader_that_promised_another(told: Told) -> None:
    """L7: its own acceptor is no longer its own."""
    told.leads(B1)
    told.judge.lets_out(N1, Heartbeat(B1, S0, 1, 0.0))
    told.judge.asks_to_confirm(N1, ReadId(1))
    told.judge.lets_out(N1, Heartbeat(B1, S0, 2, 0.0))
    told.judge.takes(N1, N3, HeartbeatReply(B1, 2, 0.0, S0))
    told.durable(N1, PromiseRecord(B2))
    with pytest.raises(Broken, match="L7"):
        told.judge.read_is_ready(N1, ReadReady(ReadId(1), S0), decided_before=S0)


def test_a_read_of_the_past(told: Told) -> None:
    """L7: what anybody had decided when the read came must be applied."""
    told.leads(B1)
    told.chooses(S0, B1, V)
    told.judge.decides(N2, DecidedValue(S0, V, None))
    told.states.read_arrives(N1, 1)
    with pytest.raises(Broken, match="L7"):
        told.states.read_is_allowed(N1, 1, applied_end=0)


def test_states_that_differ_or_are_torn(told: Told) -> None:
    """L8 and L9: another hash at the same slot, a commit of another slot, and a start from what was never committed."""
    told.states.commits(N1, applied_end=0, state_hash=b"a")
    with pytest.raises(Broken, match="L8"):
        told.states.commits(N2, applied_end=0, state_hash=b"b")
    with pytest.raises(Broken, match="L9"):
        told.states.commits(N1, applied_end=1, state_hash=b"a")
    start: dict[str, Any] = {"state_hash": b"a", "power_lost": False, "beyond": []}
    told.states.process_started(N1, applied_end=0, **start)
    with pytest.raises(Broken, match="L9"):
        told.states.process_started(N1, applied_end=3, **start)
    with pytest.raises(Broken, match="L9"):
        told.states.process_started(N1, applied_end=0, **start | {"beyond": ["revisions row 7"]})


def test_a_window_without_a_bound(told: Told) -> None:
    """L13: two slots in flight are allowed here, not three."""
    told.leads(B1)
    for slot in (S0, S1):
        told.judge.lets_out(N1, Accept(B1, slot, V, S0))
    with pytest.raises(Broken, match="L13"):
        told.judge.lets_out(N1, Accept(B1, Slot(2), V, S0))


# Mistakes made in the production code


def _everything_leaves_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Gate, "send_when_durable", lambda _self, envelope: envelope)


def _reads_are_confirmed_by_nobody(patch: pytest.MonkeyPatch) -> None:
    def take(self: Leadership, decided_end: Slot, **_clock: float) -> list[ReadReady]:
        ready = [ReadReady(read.read_id, max(read.index, decided_end)) for read in self._reads]
        self._reads = []
        return ready

    patch.setattr(Leadership, "take_confirmed_reads", take)


def _adoption_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PhaseOne, "_adopt", lambda _self, _entry: None)


def _what_is_overruled_counts_as_settled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Acceptor, "is_settled", lambda _self, _slot: True)


def _sessions_forget(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Sessions, "recall", lambda *_request: None)


def _states_depend_on_whose_they_are(patch: pytest.MonkeyPatch) -> None:
    original = StateHash.end_slot

    def end_slot(self: StateHash, slot: int) -> None:
        self.fact("noise", id(self))
        original(self, slot)

    patch.setattr(StateHash, "end_slot", end_slot)


def _each_slot_is_a_transaction(patch: pytest.MonkeyPatch) -> None:
    original = Store.apply

    def apply(self: Store, slot: int, batch: CommandBatch | None, *, configuration: bytes | None = None) -> Any:
        results = original(self, slot, batch, configuration=configuration)
        self._revisions.flush()
        self._sessions.flush()
        self._connection.execute("COMMIT")
        self._connection.execute("BEGIN IMMEDIATE")
        return results

    patch.setattr(Store, "apply", apply)


def _puts_do_not_tell_what_was_there(patch: pytest.MonkeyPatch) -> None:
    original = commands.execute_put

    def execute_put(revisions: Any, request: Any, response: Any) -> None:
        original(revisions, request, response)
        response.ClearField("prev_kv")

    patch.setattr(commands, "execute_put", execute_put)


def _nobody_stands(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Follower, "_stand", lambda _self, _now: None)


def _a_slot_goes_wrong(patch: pytest.MonkeyPatch) -> None:
    original = Store.apply

    def apply(self: Store, slot: int, batch: CommandBatch | None, *, configuration: bytes | None = None) -> Any:
        if slot == 20:
            raise ValueError("not this one")
        return original(self, slot, batch, configuration=configuration)

    patch.setattr(Store, "apply", apply)


@pytest.mark.parametrize(
    ("mistake", "laws"),
    [
        (_everything_leaves_at_once, {"L2"}),
        (_reads_are_confirmed_by_nobody, {"L7", "L14"}),
        (_adoption_is_forgotten, {"L4"}),
        (_what_is_overruled_counts_as_settled, {"L5"}),
        (_sessions_forget, {"L12"}),
        (_states_depend_on_whose_they_are, {"L8"}),
        (_each_slot_is_a_transaction, {"L9"}),
        (_puts_do_not_tell_what_was_there, {"linearizable"}),
        (_nobody_stands, {"liveness"}),
        (_a_slot_goes_wrong, {"invariants"}),
    ],
)
def test_a_mistake_is_found_by_the_law_that_it_breaks(
    mistake: Callable[[pytest.MonkeyPatch], None], laws: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few dozen seeds are enough for each of them."""
    mistake(monkeypatch)
    assert next(filter(None, map(_broken_law, range(1, 60)))) in laws


def _broken_law(seed: int) -> str | None:
    try:
        Simulation(seed).run()
    except LawBroken as broken:
        return broken.law
    return None
