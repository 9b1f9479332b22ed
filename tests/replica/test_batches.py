"""What shares a slot, within which limits, and what happens at the bounds of the queues (L13)."""

import pytest
from kvproto.command_pb2 import CommandBatch, Entry, Submission

from kvstore.paxos.types import NodeId
from kvstore.replica.messages import Forward
from kvstore.replica.steps import Undone
from kvstore.replica.writes import Overloaded, Writes

from .cluster import Cluster, put

SIZE = put("k00", "x" * 50).ByteSize()


def writes(**limits: int) -> Writes:
    settings = {"pending_max": 100, "entries_max": 10, "bytes_max": 10_000} | limits
    return Writes(NodeId(1), 1, **settings)


def submission(sender: int, *entries: Entry, incarnation: int = 1, first_ticket: int = 1) -> Submission:
    return Submission(node_id=sender, incarnation=incarnation, first_ticket=first_ticket, entries=entries)


def batches_of(waiting: Writes) -> list[CommandBatch]:
    batches = []
    while (batch := waiting.take_batch()) is not None:
        batches.append(batch)
    return batches


def entries_in(batch: CommandBatch) -> int:
    return sum(len(one.entries) for one in batch.submissions)


# Batches


@pytest.mark.parametrize(("count", "sizes"), [(3, [3]), (4, [4]), (5, [4, 1]), (8, [4, 4]), (9, [4, 4, 1])])
def test_a_slot_carries_up_to_so_many_entries(count: int, sizes: list[int]) -> None:
    waiting = writes(entries_max=4)
    for number in range(count):
        waiting.add(put(f"k{number}"))
    assert [entries_in(batch) for batch in batches_of(waiting)] == sizes


@pytest.mark.parametrize(("spare", "sizes"), [(-1, [1, 1, 1]), (0, [2, 1]), (1, [2, 1])])
def test_a_slot_carries_up_to_so_many_bytes(spare: int, sizes: list[int]) -> None:
    """The limit is two entries' size, one byte less, one byte more."""
    waiting = writes(bytes_max=2 * SIZE + spare)
    for number in range(3):
        waiting.add(put(f"k{number:02}", "x" * 50))
    assert [entries_in(batch) for batch in batches_of(waiting)] == sizes


def test_an_entry_above_the_limit_has_a_slot_of_its_own() -> None:
    waiting = writes(bytes_max=SIZE)
    for value in ("x" * 50, "y" * 500, "z"):
        waiting.add(put("k00", value))
    assert [entries_in(batch) for batch in batches_of(waiting)] == [1, 1, 1]


@pytest.mark.parametrize(("own", "sizes"), [(1, [4]), (2, [4, 1])])
def test_forwarded_and_own_entries_share_a_slot_within_its_limit(own: int, sizes: list[int]) -> None:
    waiting = writes(entries_max=4)
    assert waiting.receive(submission(2, put("a"), put("b")))
    assert waiting.receive(submission(3, put("c")))
    for number in range(own):
        waiting.add(put(f"own{number}"))
    assert [entries_in(batch) for batch in batches_of(waiting)] == sizes


@pytest.mark.parametrize("limit", [{"entries_max": 3}, {"bytes_max": submission(2, put("a"), put("b")).ByteSize() + 1}])
def test_a_forwarded_submission_stays_whole(limit: dict[str, int]) -> None:
    """What does not fit waits for the next slot, however small the rest is: its entries were sent in one run."""
    waiting = writes(**limit)
    assert waiting.receive(submission(2, put("a"), put("b")))
    assert waiting.receive(submission(3, put("c"), put("d")))
    assert [entries_in(batch) for batch in batches_of(waiting)] == [2, 2]


def test_own_and_forwarded_entries_take_turns() -> None:
    """However much of one kind waits, every second slot begins with the other."""
    waiting = writes(entries_max=2)
    for number in range(3):
        assert waiting.receive(submission(2, put("a"), put("b"), first_ticket=1 + 2 * number))
    for number in range(6):
        waiting.add(put(f"own{number}"))
    assert [batch.submissions[0].node_id for batch in batches_of(waiting)] == [2, 1, 2, 1, 2, 1]


def test_every_batch_is_unique_and_says_who_made_it() -> None:
    waiting = writes(entries_max=1)
    for _ in range(3):
        waiting.add(put("same", "same"))
    batches = batches_of(waiting)
    assert len({batch.SerializeToString() for batch in batches}) == 3
    assert [(b.origin.node_id, b.origin.incarnation, b.origin.number) for b in batches] == [
        (1, 1, n) for n in (1, 2, 3)
    ]


def test_writes_that_come_together_share_a_slot() -> None:
    cluster = Cluster()
    leader, follower, other = cluster.elect()
    before = leader.store.applied_end
    tickets = [leader.replica.write(put(f"a{number}")) for number in range(20)]
    cluster.settle()
    assert leader.store.applied_end == before + 1
    assert sorted(leader.results) == tickets
    cluster.run_until(cluster.agreed)
    assert follower.value("a7") == other.value("a7") == ""


def test_a_busy_leader_lets_the_next_batch_grow() -> None:
    """While a large batch is on its way, single writes gather; once it is decided they leave together."""
    cluster = Cluster(1)
    (alone,) = cluster.elect()
    for number in range(8):
        alone.replica.write(put(f"a{number}"))
    cluster.turn(1)
    cluster.stalled.add(alone.node_id)
    for number in range(7):
        alone.replica.write(put(f"b{number}"))
        assert cluster.turn(1) == []
    cluster.stalled.clear()
    before = alone.store.applied_end
    cluster.settle()
    assert alone.store.applied_end == before + 2
    assert len(alone.results) == 15


# Limits


def test_a_node_keeps_only_so_many_writes() -> None:
    """At the bound it refuses, keeps nothing of the refused one, and takes the next once one is answered."""
    cluster = Cluster(1, pending_max=3)
    (alone,) = cluster.elect()
    for number in range(3):
        alone.replica.write(put(f"k{number}"))
    with pytest.raises(Overloaded):
        alone.replica.write(put("k3"))
    assert alone.replica.pending_writes == 3
    cluster.settle()
    assert alone.replica.pending_writes == 0
    alone.replica.write(put("k4"))
    cluster.settle()
    assert alone.value("k3") is None
    assert alone.value("k4") == ""


def test_a_leader_takes_only_so_much_from_others() -> None:
    """The client of the follower is told so; nothing of it was proposed."""
    cluster = Cluster(pending_max=4)
    leader, follower, other = cluster.elect()
    for member, count in ((follower, 3), (other, 2)):
        for number in range(count):
            member.replica.write(put(f"{member.node_id}-{number}"))
        cluster.turn(member.node_id)
    while any(isinstance(wire.message, Forward) for wire in cluster.wires):
        cluster.deliver()
    cluster.settle()
    assert len(follower.results) == 3
    assert set(other.undone.values()) == {Undone.OVERLOADED}
    assert len(other.undone) == 2
    assert leader.value(f"{other.node_id}-0") is None


def test_clients_that_try_again_while_nobody_leads_leave_nothing_behind() -> None:
    cluster = Cluster()
    cluster.crash(2)
    cluster.crash(3)
    replica = cluster[1].replica
    for number in range(20_000):
        assert replica.forget_write(replica.write(put(f"k{number}")))
        replica.forget_read(replica.read())
    assert replica.pending_writes == 0
    assert len(replica._writes._waiting) < 5_000
    assert not replica._reads._waiting
