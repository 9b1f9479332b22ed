"""What shares a slot, within which limits, and what happens at the bounds of the queues (L13)."""

import pytest
from kvproto.command_pb2 import CommandBatch, Entry

from kvstore.mvcc.results import SessionOpened
from kvstore.paxos.types import NodeId
from kvstore.replica.messages import Forward, ForwardReply
from kvstore.replica.writes import Forwarded, Overloaded, Proposal, Writes

from .cluster import RETRY_S, Cluster, of_session, put

SIZE = of_session(1, 1, "k00", "x" * 50).ByteSize()


def writes(**limits: int) -> Writes:
    """Of a node with one attached session, 1."""
    settings = {"pending_max": 100, "entries_max": 10, "bytes_max": 10_000} | limits
    made = Writes(NodeId(1), 1, resend_s=1.0, **settings)
    made.attach(1)
    return made


def own(*sequences: int, value: str = "x" * 50) -> list[Entry]:
    """All of the same size."""
    return [of_session(1, sequence, f"k{sequence:02}", value) for sequence in sequences]


def forwarded(sender: int, *sequences: int, number: int = 1) -> Forwarded:
    entries = [of_session(sender, sequence, f"f{sequence:02}", "x" * 50) for sequence in sequences]
    return Forwarded(NodeId(sender), number, CommandBatch(entries=entries))


def proposals_of(waiting: Writes) -> list[Proposal]:
    proposals = []
    while (proposal := waiting.take_batch()) is not None:
        proposals.append(proposal)
    return proposals


def sizes_of(waiting: Writes) -> list[int]:
    return [len(proposal.batch.entries) for proposal in proposals_of(waiting)]


# Batches


@pytest.mark.parametrize(("count", "sizes"), [(3, [3]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (9, [4, 4, 1])])
def test_a_slot_carries_up_to_so_many_entries(count: int, sizes: list[int]) -> None:
    """However they came: in one piece, or one by one."""
    together, apart = writes(entries_max=4), writes(entries_max=4)
    together.submit(1, own(*range(1, count + 1)))
    for sequence in range(1, count + 1):
        apart.submit(1, own(sequence))
    assert sizes_of(together) == sizes_of(apart) == sizes


@pytest.mark.parametrize(("spare", "sizes"), [(-1, [1, 1, 1]), (0, [2, 1]), (1, [2, 1])])
def test_a_slot_carries_up_to_so_many_bytes(spare: int, sizes: list[int]) -> None:
    """The limit is two entries' size, one byte less, one byte more."""
    waiting = writes(bytes_max=2 * SIZE + spare)
    waiting.submit(1, own(1, 2, 3))
    assert sizes_of(waiting) == sizes


def test_an_entry_above_the_limit_has_a_slot_of_its_own() -> None:
    waiting = writes(bytes_max=SIZE)
    waiting.submit(1, [*own(1), *own(2, value="y" * 500), *own(3, value="z")])
    assert sizes_of(waiting) == [1, 1, 1]


@pytest.mark.parametrize(("count", "sizes"), [(1, [4]), (2, [4, 1])])
def test_forwarded_and_own_entries_share_a_slot_within_its_limit(count: int, sizes: list[int]) -> None:
    waiting = writes(entries_max=4)
    assert waiting.receive(forwarded(2, 1, 2))
    assert waiting.receive(forwarded(3, 1))
    waiting.submit(1, own(*range(1, count + 1)))
    assert sizes_of(waiting) == sizes


@pytest.mark.parametrize("limit", [{"entries_max": 3}, {"bytes_max": forwarded(2, 1, 2).batch.ByteSize() + 1}])
def test_what_was_forwarded_together_stays_together(limit: dict[str, int]) -> None:
    """What does not fit waits for the next slot, however small the rest is: its entries were sent in one run."""
    waiting = writes(**limit)
    assert waiting.receive(forwarded(2, 1, 2))
    assert waiting.receive(forwarded(3, 1, 2))
    assert sizes_of(waiting) == [2, 2]


def test_own_and_forwarded_entries_take_turns() -> None:
    """However much of one kind waits, every second slot begins with the other."""
    waiting = writes(entries_max=2)
    for number in range(3):
        assert waiting.receive(forwarded(2, 2 * number + 1, 2 * number + 2, number=number))
    waiting.submit(1, own(*range(1, 7)))
    proposals = proposals_of(waiting)
    assert [p.batch.entries[0].session for p in proposals] == [2, 1, 2, 1, 2, 1]
    assert [(len(p.own), p.foreign) for p in proposals] == [(0, True), (2, False)] * 3


def test_every_batch_is_unique_and_says_who_made_it() -> None:
    waiting = writes(entries_max=1)
    waiting.submit(1, own(1) * 3)
    batches = [proposal.batch for proposal in proposals_of(waiting)]
    assert len({batch.SerializeToString() for batch in batches}) == 3
    assert [(b.origin.node_id, b.origin.incarnation, b.origin.number) for b in batches] == [
        (1, 1, n) for n in (1, 2, 3)
    ]


@pytest.mark.parametrize(("count", "sizes"), [(4, [4]), (5, [4, 1]), (8, [4, 4])])
def test_forwards_have_the_same_limits(count: int, sizes: list[int]) -> None:
    """Each has a number of its own, and all that waits leaves at once."""
    waiting = writes(entries_max=4)
    waiting.submit(1, own(*range(1, count + 1)))
    forwards = list(waiting.take_forwards(0.0))
    assert [len(batch.entries) for _, batch in forwards] == sizes
    assert len({number for number, _ in forwards}) == len(sizes)
    assert waiting.waiting_count == 0


def test_writes_that_come_together_share_a_slot() -> None:
    cluster = Cluster()
    leader, follower, other = cluster.ready()
    before = leader.store.applied_end
    tickets = [leader.replica.write(put(f"a{number}")) for number in range(20)]
    cluster.settle()
    assert leader.store.applied_end == before + 1
    assert set(tickets) <= set(leader.results)
    cluster.run_until(cluster.agreed)
    assert follower.value("a7") == other.value("a7") == ""


def test_a_busy_leader_lets_the_next_batch_grow() -> None:
    """It waits until as much has gathered as it has in flight: seven entries wait for eight, and the eighth goes."""
    cluster = Cluster(1)
    (alone,) = cluster.ready()
    for number in range(8):
        alone.replica.write(put(f"a{number}"))
    cluster.turn(1)
    cluster.stalled.add(alone.node_id)
    for number in range(7):
        alone.replica.write(put(f"b{number}"))
        assert cluster.turn(1) == []
    assert not alone.replica.wants_turn(cluster.now)
    alone.replica.write(put("b7"))
    assert cluster.turn(1) != []
    alone.replica.write(put("c"))
    assert cluster.turn(1) == [], "sixteen are in flight now"
    cluster.stalled.clear()
    before = alone.store.applied_end
    cluster.settle()
    assert alone.store.applied_end == before + 3
    assert len(alone.results) == 1 + 8 + 8 + 1


def test_a_batch_that_is_full_waits_for_nothing() -> None:
    """The growth has the batch's limit for a bound."""
    cluster = Cluster(1, batch_entries_max=4)
    (alone,) = cluster.ready()
    cluster.stalled.add(alone.node_id)
    for number in range(6):
        alone.replica.write(put(f"a{number}"))
    cluster.turn(1)
    assert [len(proposal.batch.entries) for proposal in alone.replica._proposed.values()] == [4]
    for number in range(2):
        alone.replica.write(put(f"b{number}"))
    cluster.turn(1)
    assert [len(proposal.batch.entries) for proposal in alone.replica._proposed.values()] == [4, 4]


def test_a_follower_lets_forwards_grow_and_sends_what_waited_in_the_turn_after_the_answers() -> None:
    """Time stands still: what grew behind a larger forward does not wait for a heartbeat to wake the node."""
    cluster = Cluster()
    leader, follower, _ = cluster.ready()
    forwards = len(cluster.messages(Forward))
    cluster.holds = lambda wire: isinstance(wire.message, Forward)
    for number in range(8):
        follower.replica.write(put(f"a{number}"))
    cluster.settle()
    for number in range(3):
        follower.replica.write(put(f"b{number}"))
    cluster.settle()
    assert len(cluster.messages(Forward)) == forwards + 1
    cluster.release()
    begun = cluster.now
    cluster.settle()
    assert cluster.now == begun
    assert len(cluster.messages(Forward)) == forwards + 2
    assert follower.value("b2") == leader.value("b2") == ""
    assert follower.replica.pending_writes == 0


# Limits


def test_a_node_keeps_only_so_many_writes_of_clients_without_a_session() -> None:
    """At the bound it refuses, keeps nothing of the refused one, and takes the next once one is answered."""
    cluster = Cluster(1, unary_max=3)
    (alone,) = cluster.ready()
    for number in range(3):
        alone.replica.write(put(f"k{number}"))
    with pytest.raises(Overloaded):
        alone.replica.write(put("k3"))
    cluster.settle()
    alone.replica.write(put("k4"))
    cluster.settle()
    assert alone.value("k3") is None
    assert alone.value("k4") == ""


@pytest.mark.parametrize(("count", "taken"), [(2, True), (3, True), (4, False)])
def test_a_node_keeps_only_so_many_requests_of_sessions(count: int, taken: bool) -> None:
    """One less than the bound, the bound, one more; what is refused is refused whole."""
    waiting = writes(pending_max=5)
    waiting.submit(1, own(1, 2))
    if taken:
        waiting.submit(1, own(*range(3, 3 + count)))
    else:
        with pytest.raises(Overloaded):
            waiting.submit(1, own(*range(3, 3 + count)))
    assert waiting.pending_count == waiting.waiting_count == 2 + (count if taken else 0)
    assert waiting.room == 5 - waiting.pending_count


def test_the_writes_of_others_wait_where_sessions_have_filled_the_node() -> None:
    """Both share one bound: the node goes on, and takes a write without a session as soon as there is room."""
    cluster = Cluster(pending_max=4)
    leader, follower, _ = cluster.ready()
    session = cluster.open_session(leader)
    cluster.holds = lambda wire: wire.to == leader.node_id
    leader.replica.submit(session, [of_session(session, n, f"s{n}") for n in range(1, 5)])
    ticket = leader.replica.write(put("k", "v"))
    cluster.settle()
    assert ticket not in leader.results
    cluster.release()
    cluster.settle()
    assert ticket in leader.results
    assert leader.value("s4") == ""
    cluster.run_until(cluster.agreed)
    assert follower.value("k") == "v"


def test_a_leader_takes_only_so_much_from_others() -> None:
    """It says that it proposed nothing of the rest, which comes again after a pause: no client notices."""
    cluster = Cluster(pending_max=4)
    leader, follower, other = cluster.ready()
    for member, count in ((follower, 3), (other, 2)):
        for number in range(count):
            member.replica.write(put(f"{member.node_id}-{number}"))
        cluster.turn(member.node_id)
    while any(isinstance(wire.message, Forward) for wire in cluster.wires):
        cluster.deliver()
    begun = cluster.now
    cluster.settle()
    (reply,) = cluster.messages(ForwardReply)
    assert (reply.sender, reply.to) == (leader.node_id, other.node_id)
    assert follower.value(f"{follower.node_id}-2") == ""
    assert leader.value(f"{other.node_id}-0") is None
    cluster.run_until(lambda: other.value(f"{other.node_id}-1") == "")
    assert cluster.now - begun >= RETRY_S
    assert leader.times_put(f"{other.node_id}-0") == 1


def test_clients_that_try_again_while_nobody_leads_leave_nothing_behind() -> None:
    """Writes without a session, reads, and whole streams that come, ask and go."""
    cluster = Cluster()
    cluster.crash(2)
    cluster.crash(3)
    replica = cluster[1].replica
    for number in range(20_000):
        assert replica.forget_write(replica.write(put(f"k{number}")))
        replica.forget_read(replica.read())
    for number in range(1_000):
        replica.attach(7)
        replica.submit(7, [of_session(7, sequence, f"k{number}") for sequence in range(1, 11)])
        replica.detach(7)
    assert replica.pending_writes == 0
    assert len(replica._unary._waiting) < 2_000
    assert replica._writes.waiting_count < 2_000
    assert len(replica._writes._waiting) < 2_000
    assert not replica._reads._waiting


def test_given_up_requests_of_an_open_session_leave_nothing_behind() -> None:
    """Where nobody leads any more: numbered, waiting or under way for the second time, nothing of them stays."""
    waiting = writes(pending_max=10)
    for sequence in range(1, 10_000):
        waiting.submit(1, own(sequence))
        list(waiting.take_forwards(0.0))
        waiting.resend(())
        assert not waiting.forget(1, sequence), "it was sent"
    assert len(waiting._waiting) < 2_000
    assert waiting.waiting_count < 2_000
    assert not waiting._attached[1].resent
    assert not waiting._forwards


def test_an_opening_is_asked_for_until_it_is_answered() -> None:
    """Though no request of any session waits: a lost or refused forward of it comes again."""
    waiting = Writes(NodeId(1), 1, pending_max=9, entries_max=9, bytes_max=999, resend_s=1.0)
    number = waiting.open_session()
    ((refused, batch),) = waiting.take_forwards(0.0)
    assert list(waiting.take_answers()) == []
    waiting.refused(refused)
    ((_, again),) = waiting.take_forwards(5.0)
    assert list(again.entries) == list(batch.entries)
    assert list(waiting.take_answers()) == []
    assert waiting.next_resend() == 6.0
    waiting.resend_overdue(5.9)
    assert waiting.waiting_count == 0
    waiting.resend_overdue(6.0)
    assert waiting.waiting_count == 1
    waiting.settle(again, [SessionOpened(33)])
    assert waiting.take_opened() == [(number, 33)]
    waiting.settle(again, [SessionOpened(34)])
    assert waiting.take_opened() == [], "the second copy opened a session that nobody uses"
    assert list(waiting.take_forwards(7.0)) == []
