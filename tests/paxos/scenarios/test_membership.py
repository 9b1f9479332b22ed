"""Faults of membership: those who come to vote, those who do so no longer, and who leads them meanwhile."""

from kvstore.paxos.effects import Role
from kvstore.paxos.messages import Accept, AcceptedEntry, CatchUp, Decided, Envelope, Heartbeat, HeartbeatReply
from tests.paxos.bench import Bench, app, ballot, config_of, node, slot
from tests.paxos.world import World


def test_deciding_a_configuration_leaves_a_follower_nothing_urgent_to_do() -> None:
    """It used to want a tick at once, for ever."""
    follower = Bench(2)
    at = ballot(1, 1)
    new = config_of(1, 2, 4, epoch=2)
    follower.say(1, Accept(at, slot(0), new, slot(0)))
    follower.say(1, Heartbeat(at, slot(1), 1, 0.0))
    assert follower.core.status().decided_end == 1
    follower.tick(after_s=0.0)
    deadline = follower.core.next_deadline()
    assert deadline is not None
    assert deadline > follower.now


def test_a_leader_does_not_step_down_before_new_voters_can_have_answered() -> None:
    leader = Bench(1)
    at = leader.lead()
    leader.tick(after_s=0.9)
    for sender in (2, 3):
        leader.say(sender, HeartbeatReply(at, 1, leader.now, slot(0)))
    leader.core.propose_configuration(config_of(4, 5, 6, epoch=2), leader.now)
    leader.drain()
    leader.accepted_by(2, at, 0)
    leader.accepted_by(3, at, 0)
    leader.tick(after_s=0.5)
    assert leader.core.status().role is Role.LEADER
    leader.tick(after_s=0.6)
    assert leader.core.status().role is Role.FOLLOWER, "it has not heard of a quorum of 4, 5, 6 for a whole timeout"


def test_a_removed_leader_leads_on_without_a_vote_and_within_its_memory() -> None:
    """It keeps the slots in which it does not vote: for others to learn, and for the cache to be emptied of."""
    leader = Bench(1, alpha=2, inflight_slots_max=2, cached_bytes_max=400)
    at = leader.lead()
    leader.core.propose_configuration(config_of(2, 3, epoch=2), leader.now)
    leader.drain()
    leader.sync()
    leader.accepted_by(2, at, 0)
    for number in range(1, 20):
        leader.propose(str(number))
        leader.sync()
        leader.accepted_by(2, at, number)
        leader.accepted_by(3, at, number)
        leader.sync()
    assert leader.core.status().decided_end == 20
    (answer,) = [e.message for e in leader.say(2, CatchUp(slot(19))).messages]
    assert answer == Decided((AcceptedEntry(slot(19), at, app("19")),), slot(20))


def test_a_new_voter_learns_from_a_leader_that_it_does_not_know_yet() -> None:
    """Node 4 knows the configuration of slot 0 only; its leader is from the one that it has yet to learn."""
    newcomer = Bench(4, (1, 2, 3))
    effects = newcomer.say(5, Heartbeat(ballot(3, 5), slot(9), 1, 0.0))
    assert Envelope(node(5), CatchUp(slot(0))) in effects.messages


def test_a_node_without_a_vote_that_hears_no_leader_asks_whether_it_has_one_by_now() -> None:
    """1 → 4 at one stroke: 1 knows, and may not stand; 4 may stand, and does not know. Somebody has to speak first."""
    world = World((1,), spare=(4,), alpha=2, inflight_slots_max=2)
    world.elect(1)
    world.block(1, 4)
    world.propose_configuration(1, config_of(4, epoch=2))
    world.run(0.1)
    world.propose(1, b"last")
    world.run(0.1)
    world.checkpoint(node(1))
    world.crash(node(1))
    world.restart(node(1))
    world.heal()
    world.run_until(lambda: world.leaders() == [4], within_s=6.0)
    world.propose(4, b"first")
    world.run(0.2)
    assert app("first") in world.log(4)
