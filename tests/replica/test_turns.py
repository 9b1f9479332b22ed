"""The order of a turn: propose, send, commit, read the log, apply, answer; and what starts another one."""

import pytest

from kvstore.paxos.effects import Role
from kvstore.paxos.messages import Accept, Heartbeat
from kvstore.replica.steps import AnswerAll, Answered, Commit, LeadershipStep, ReadAllowed, ReadLog, Send

from .cluster import Cluster, put

ORDER = (Send, Commit, ReadLog, AnswerAll, LeadershipStep)


def test_a_single_replica_answers_after_its_own_commit() -> None:
    """One turn proposes and commits; the next, told that the commit is durable, applies and answers."""
    cluster = Cluster(1)
    (alone,) = cluster.ready()
    ticket = alone.replica.write(put("k", "v"))
    assert alone.replica.wants_turn(cluster.now)
    assert [type(step) for step in cluster.turn(1)] == [Commit]
    assert alone.value("k") is None
    (answer,) = cluster.turn(1)
    assert isinstance(answer, AnswerAll)
    assert [told.ticket for told in answer.answers] == [ticket]
    assert alone.value("k") == "v"


def test_a_leader_sends_before_it_commits() -> None:
    """The followers' disks work while its own does; nothing that it sends speaks for what is not durable (L2)."""
    cluster = Cluster()
    leader, *_ = cluster.ready()
    leader.replica.write(put("k"))
    send, commit = cluster.turn(leader.node_id)
    assert isinstance(send, Send)
    assert isinstance(commit, Commit)
    assert [type(outgoing.message) for outgoing in send.messages] == [Accept, Accept]


def test_a_turn_answers_only_what_it_has_applied() -> None:
    """When the followers decide before the leader's own disk, the answer does not wait for that disk."""
    cluster = Cluster()
    leader, *_ = cluster.elect()
    cluster.stalled.add(leader.node_id)
    ticket = leader.replica.write(put("k", "v"))
    cluster.settle()
    assert ticket in leader.results
    assert leader.value("k") == "v"
    assert leader.commits, "its own disk still has not reported"


@pytest.mark.parametrize("seed", range(6))
def test_every_turn_keeps_the_order(seed: int) -> None:
    """Whatever comes in between: each kind of step in its place; a write is answered only by who received it."""
    cluster = Cluster(seed=seed, paxos={"cached_slots_max": 2, "inflight_slots_max": 2})
    _, follower, _ = cluster.elect()
    written: dict[int, set[int]] = {member.node_id: set() for member in cluster.up}
    for number in range(60):
        for member in cluster.up:
            if cluster.rng.random() < 0.7:
                written[member.node_id].add(member.replica.write(put(f"k{number % 5}", str(number))))
            if cluster.rng.random() < 0.3:
                member.replica.read()
        if number == 20:
            cluster.isolate(follower.node_id)
        if number == 40:
            cluster.heal()
            cluster.leader().replica.hand_over(cluster.now)
        cluster.run(0.03)
    cluster.run_until(cluster.agreed)
    kinds = set()
    for member in cluster.up:
        for steps in member.turns:
            places = [ORDER.index(type(step)) for step in steps]
            assert places == sorted(places)
            single = [step for step in steps if not isinstance(step, ReadLog)]
            assert len(single) == len({type(step) for step in single}), "one of each kind in a turn"
            kinds |= {type(step) for step in steps}
        assert set(member.results) == written[member.node_id]
    assert kinds == set(ORDER)


def test_a_read_is_allowed_in_the_turn_that_applies_what_it_waits_for() -> None:
    cluster = Cluster(1)
    (alone,) = cluster.elect()
    alone.replica.write(put("k", "v"))
    read = alone.replica.read()
    cluster.settle()
    (answers,) = [
        s.answers for turn in alone.turns for s in turn if isinstance(s, AnswerAll) and ReadAllowed(read) in s.answers
    ]
    assert all(isinstance(answer, Answered | ReadAllowed) for answer in answers)


def test_a_change_of_leadership_is_told_last() -> None:
    """Whoever hears that this node leads, or does not, can rely on the answers before it."""
    cluster = Cluster()
    leader, *_ = cluster.elect()
    assert leader.leaderships[-1].role is Role.LEADER
    assert all(member.leaderships[-1].leader == leader.node_id for member in cluster.up)
    told = [
        steps for member in cluster.up for steps in member.turns if any(isinstance(s, LeadershipStep) for s in steps)
    ]
    assert all(isinstance(steps[-1], LeadershipStep) for steps in told)


def test_an_idle_replica_wants_no_turn_before_its_deadline() -> None:
    """No busy loop: nothing to do until the next heartbeat, though another node's slot was just applied."""
    cluster = Cluster()
    _, follower, _ = cluster.elect()
    follower.replica.write(put("k"))
    cluster.settle()
    for member in cluster.up:
        assert not member.replica.wants_turn(cluster.now)
        deadline = member.replica.next_deadline()
        assert deadline is not None
        assert deadline > cluster.now


def test_a_replica_wants_a_turn_as_soon_as_its_session_is_open() -> None:
    """What waited for it leaves with the next turn, not with the next heartbeat."""
    cluster = Cluster(1)
    (alone,) = cluster.elect()
    alone.replica.write(put("k"))
    cluster.turn(1)
    assert not alone.replica.wants_turn(cluster.now), "the disk is at work"
    cluster.turn(1)
    assert alone.replica.wants_turn(cluster.now)


def test_a_follower_wants_a_turn_once_what_it_forwarded_is_answered() -> None:
    """Less than what was under way has gathered behind it, which may leave now."""
    cluster = Cluster()
    _, follower, _ = cluster.ready()
    for number in range(4):
        follower.replica.write(put(f"a{number}"))
    cluster.turn(follower.node_id)
    follower.replica.write(put("b"))
    cluster.holds = lambda wire: wire.to == follower.node_id
    cluster.settle()
    assert not follower.replica.wants_turn(cluster.now)
    cluster.holds = lambda _: False
    for wire in cluster.held:
        follower.replica.receive(wire.sender, wire.message, cluster.now)
    while follower.value("a3") is None:
        cluster.turn(follower.node_id)
    assert follower.replica.pending_writes == 1
    assert follower.replica.wants_turn(cluster.now)


def test_a_follower_that_waits_for_an_answer_is_told_at_once_what_is_decided() -> None:
    """Not only with the next heartbeat or after the delay that gathers news: time stands still here."""
    cluster = Cluster()
    _, follower, _ = cluster.ready()
    beats = len(cluster.messages(Heartbeat))
    ticket = follower.replica.write(put("k"))
    cluster.settle()
    assert ticket in follower.results
    assert len(cluster.messages(Heartbeat)) == beats + 2
