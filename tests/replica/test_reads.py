"""Linearizable reads (L7): one confirmation for many, on every node, each attempt a fresh one, never before applied."""

import pytest

from kvstore.paxos.effects import Role
from kvstore.paxos.messages import Accept, Decided, Heartbeat, HeartbeatReply
from kvstore.paxos.types import NodeId, Slot
from kvstore.replica.messages import ReadIndex, ReadIndexReply
from kvstore.replica.reads import Reads, RemoteReader
from kvstore.replica.writes import Overloaded

from .cluster import RETRY_S, Cluster, put


def test_one_confirmation_serves_all_reads_of_a_turn() -> None:
    """On the leader: 50 reads, its own and those of both followers, cost one heartbeat to each follower."""
    cluster = Cluster()
    leader, *followers = cluster.elect()
    remote = [(follower, follower.replica.read()) for follower in followers]
    for follower in followers:
        cluster.turn(follower.node_id)
    while cluster.deliver():
        pass
    own = [leader.replica.read() for _ in range(48)]
    before = len(cluster.messages(Heartbeat))
    cluster.settle()
    assert len(cluster.messages(Heartbeat)) == before + 2
    assert sorted(leader.allowed) == own
    assert all(ticket in follower.allowed for follower, ticket in remote)


def test_all_reads_that_wait_on_a_follower_share_one_question() -> None:
    cluster = Cluster()
    leader, follower, _ = cluster.elect()
    tickets = [follower.replica.read() for _ in range(50)]
    cluster.settle()
    (question,) = cluster.messages(ReadIndex)
    assert (question.sender, question.to) == (follower.node_id, leader.node_id)
    assert len(cluster.messages(ReadIndexReply)) == 1
    assert sorted(follower.allowed) == tickets


def test_a_single_replica_confirms_itself() -> None:
    cluster = Cluster(1)
    (alone,) = cluster.elect()
    ticket = alone.replica.read()
    cluster.turn(1)
    assert ticket in alone.allowed


def test_a_read_is_not_served_before_the_index_is_applied() -> None:
    """A follower learns the index of a slot that it has not applied: it waits for the slot, not for the clock."""
    cluster = Cluster()
    leader, follower, other = cluster.elect()
    cluster.holds = lambda wire: wire.to == follower.node_id and isinstance(wire.message, Accept | Decided)
    written = leader.replica.write(put("k", "v"))
    cluster.settle()
    assert written in leader.results
    ticket = follower.replica.read()
    cluster.settle()
    (reply,) = cluster.messages(ReadIndexReply)
    assert reply.message.confirmed
    assert reply.message.index == leader.store.applied_end
    assert follower.store.applied_end < reply.message.index
    assert follower.allowed == {}
    cluster.release()
    cluster.run_until(lambda: ticket in follower.allowed)
    assert follower.value("k") == "v"
    assert follower.allowed[ticket] >= reply.message.index
    assert other.allowed == {}


def test_a_read_sees_every_write_that_was_answered_anywhere_before() -> None:
    """Write through one node, read on the next, round and round; each read sees the newest answered value."""
    cluster = Cluster()
    cluster.elect()
    members = cluster.up
    for number in range(30):
        writer, reader = members[number % 3], members[(number + 1) % 3]
        written = writer.replica.write(put("k", str(number)))
        cluster.run_until(lambda w=writer, t=written: t in w.results)  # type: ignore[misc]
        ticket = reader.replica.read()
        while ticket not in reader.allowed:
            cluster.run(0.001)
        assert reader.value("k") == str(number)


def test_a_leader_without_a_quorum_serves_no_read() -> None:
    """It was deposed and does not know. The read waits, and is served once the node follows the one that leads."""
    cluster = Cluster()
    old, follower, _ = cluster.elect()
    cluster.isolate(old.node_id)
    ticket = old.replica.read()
    cluster.run_until(lambda: any(m.replica.status().role is Role.LEADER for m in cluster.up if m is not old))
    written = follower.replica.write(put("k", "new"))
    cluster.run_until(lambda: written in follower.results)
    assert old.allowed == {}
    cluster.heal()
    cluster.run_until(lambda: ticket in old.allowed)
    assert old.value("k") == "new"


def test_a_reply_to_an_earlier_round_confirms_nothing() -> None:
    """The heartbeat was under way when the read came: only answers to one begun after it count."""
    cluster = Cluster()
    leader, *_ = cluster.elect()
    cluster.holds = lambda wire: isinstance(wire.message, HeartbeatReply)
    while not cluster.held:
        cluster.run(0.01)
    ticket = leader.replica.read()
    earlier, cluster.held = cluster.held, []
    cluster.settle()
    for wire in earlier:
        leader.replica.receive(wire.sender, wire.message, cluster.now)
    cluster.turn(leader.node_id)
    assert leader.allowed == {}
    cluster.release()
    cluster.settle()
    assert ticket in leader.allowed


def test_a_question_that_stays_unanswered_is_asked_afresh() -> None:
    """Under a new number, so that an answer to the first one, which may be too old by then, counts for nothing."""
    cluster = Cluster()
    _, follower, _ = cluster.elect()
    ticket = follower.replica.read()
    cluster.holds = lambda wire: isinstance(wire.message, ReadIndexReply)
    begun = cluster.now
    cluster.run_until(lambda: len(cluster.messages(ReadIndex)) == 2)
    assert cluster.now - begun >= RETRY_S
    first, second = (wire.message.request for wire in cluster.messages(ReadIndex))
    assert first != second
    late = next(wire for wire in cluster.held if wire.message.request == first)
    follower.replica.receive(late.sender, late.message, cluster.now)
    cluster.turn(follower.node_id)
    assert follower.allowed == {}
    cluster.release()
    cluster.run_until(lambda: ticket in follower.allowed)


def test_who_does_not_lead_confirms_nothing() -> None:
    """And who asked pauses before it asks again."""
    cluster = Cluster()
    leader, follower, other = cluster.elect()
    other.replica.receive(follower.node_id, ReadIndex(99), cluster.now)
    cluster.settle()
    (reply,) = cluster.messages(ReadIndexReply)
    assert reply.message == ReadIndexReply(99, confirmed=False, index=Slot(0))
    cluster.run(2 * RETRY_S)
    ticket = follower.replica.read()
    cluster.turn(follower.node_id)
    (question,) = cluster.messages(ReadIndex)
    cluster.wires.clear()
    refused = ReadIndexReply(question.message.request, confirmed=False, index=Slot(0))
    follower.replica.receive(leader.node_id, refused, cluster.now)
    cluster.settle()
    assert len(cluster.messages(ReadIndex)) == 1
    begun = cluster.now
    cluster.run_until(lambda: ticket in follower.allowed)
    assert cluster.now - begun >= RETRY_S
    assert len(cluster.messages(ReadIndex)) == 2


def test_reads_of_followers_fail_with_the_leadership_and_are_asked_again() -> None:
    """The leader is deposed before its confirmation is complete: it says so, and the next leader answers."""
    cluster = Cluster()
    leader, follower, other = cluster.elect()
    cluster.holds = lambda wire: isinstance(wire.message, HeartbeatReply)
    ticket = follower.replica.read()
    cluster.settle()
    leader.replica._paxos.transfer(other.node_id, cluster.now)
    cluster.settle()
    assert other.replica.status().role is Role.LEADER
    refused = [wire for wire in cluster.messages(ReadIndexReply) if wire.sender == leader.node_id]
    assert [wire.message.confirmed for wire in refused] == [False]
    assert follower.allowed == {}
    cluster.release()
    cluster.run_until(lambda: ticket in follower.allowed)
    assert [wire.to for wire in cluster.messages(ReadIndex)] == [leader.node_id, other.node_id]


def test_the_reads_of_a_deposed_leader_go_to_the_next_one() -> None:
    cluster = Cluster()
    leader, _, other = cluster.elect()
    cluster.holds = lambda wire: isinstance(wire.message, HeartbeatReply)
    ticket = leader.replica.read()
    cluster.turn(leader.node_id)
    leader.replica._paxos.transfer(other.node_id, cluster.now)
    cluster.settle()
    assert leader.allowed == {}
    cluster.release()
    cluster.run_until(lambda: ticket in leader.allowed)
    (question,) = cluster.messages(ReadIndex)
    assert (question.sender, question.to) == (leader.node_id, other.node_id)


def test_a_new_leader_serves_no_read_before_it_has_decided_what_it_found() -> None:
    """Its predecessor has answered a write whose slot the new one has accepted and does not know decided."""
    cluster = Cluster()
    old, follower, other = cluster.elect()
    written = old.replica.write(put("k", "v"))
    cluster.holds = lambda wire: wire.sender == old.node_id and isinstance(wire.message, Heartbeat)
    cluster.settle()
    assert written in old.results
    assert follower.value("k") is None
    cluster.crash(old.node_id)
    cluster.held.clear()
    ticket = follower.replica.read()
    cluster.run_until(lambda: ticket in follower.allowed)
    assert follower.value("k") == "v"
    assert other.allowed == {}


def test_a_node_keeps_only_so_many_reads() -> None:
    cluster = Cluster(pending_max=3)
    cluster.crash(2)
    cluster.crash(3)
    replica = cluster[1].replica
    tickets = [replica.read() for _ in range(3)]
    with pytest.raises(Overloaded):
        replica.read()
    replica.forget_read(tickets[1])
    last = replica.read()
    cluster.start(2)
    cluster.run_until(lambda: last in cluster[1].allowed)
    assert list(cluster[1].allowed) == [tickets[0], tickets[2], last]


def test_a_read_that_was_given_up_is_answered_nowhere() -> None:
    """Wherever it is by then: at the leader for confirmation, asked for, or waiting for a slot."""
    reads = Reads(1, retry_s=1.0, pending_max=10)
    waiting, asked, kept = reads.add(), reads.add(), reads.add()
    reads.forget(waiting)
    request = reads.ask(0.0)
    reads.forget(asked)
    reads.answered(request, confirmed=True, index=Slot(5))
    assert reads.take_allowed(Slot(4)) == []
    assert reads.take_allowed(Slot(5)) == [kept]
    reads.forget(kept)
    assert not reads.any_waiting


def test_requests_that_failed_wait_ahead_of_younger_ones() -> None:
    reads = Reads(1, retry_s=1.0, pending_max=10)
    older = [reads.add(), reads.add()]
    request = reads.ask(0.0)
    younger = reads.add()
    assert reads.next_retry() == 1.0
    reads.expire(0.9)
    assert reads.next_retry() == 1.0
    reads.expire(1.0)
    assert reads.next_retry() is None
    reads.answered(request, confirmed=True, index=Slot(0))
    assert reads.take_allowed(Slot(9)) == [], "too late"
    reads.add_remote(RemoteReader(NodeId(2), 7))
    group = reads.take_group()
    assert group.tickets == [*older, younger]
    assert group.remote == [RemoteReader(NodeId(2), 7)]
