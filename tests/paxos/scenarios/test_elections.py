"""Faults of elections: nobody came to lead, or it took too long, or a leader stayed that could decide nothing."""

from kvstore.paxos.effects import Role
from kvstore.paxos.messages import CatchUp, Decided, Heartbeat, Prepare, Promise, Suspect, SuspectReply
from kvstore.paxos.types import ZERO_BALLOT
from tests.paxos.bench import Bench, ballot, node, slot
from tests.paxos.world import World


def test_a_candidate_whose_time_is_up_asks_again_at_once() -> None:
    """It used to wait for a second timeout first."""
    candidate = Bench(1)
    candidate.stand()
    while candidate.core.status().role is Role.CANDIDATE:
        effects = candidate.tick()
    assert [e.message for e in effects.messages] == [Suspect(2), Suspect(2)]


def test_who_asks_whether_there_is_a_leader_is_none() -> None:
    """A leader that was deposed by a Nack finds its followers still faithful to it; they need not wait a timeout."""
    follower = Bench(2)
    follower.say(1, Heartbeat(ballot(1, 1), slot(0), 1, 0.0))
    (other,) = [e.message for e in follower.say(3, Suspect(1)).messages]
    (leader,) = [e.message for e in follower.say(1, Suspect(1)).messages]
    assert isinstance(other, SuspectReply)
    assert isinstance(leader, SuspectReply)
    assert (other.hears_leader, leader.hears_leader) == (True, False)


def test_a_node_that_promised_somebody_gives_up_its_own_suspicion() -> None:
    """Late answers to it must not start a duel."""
    follower = Bench(2)
    (asked, _) = [e.message for e in follower.tick().messages]
    assert isinstance(asked, Suspect)
    follower.say(1, Prepare(ballot(1, 1), slot(0)))
    follower.sync()
    follower.say(3, SuspectReply(asked.suspicion, False, ZERO_BALLOT, slot(0)))
    assert follower.core.status().role is Role.FOLLOWER


def test_a_phase_1_that_takes_longer_than_an_election_timeout_comes_to_its_end() -> None:
    """All were restarted with much that is accepted and not known to be decided, and promises come in many pages. The
    others left a candidate an election timeout or two from its first Prepare on, and it left itself no more: each ended
    the one before, and nobody ever led."""
    world = World((1, 2, 3), page_entries_max=1, inflight_slots_max=64)
    world.elect(1)
    world.flush()
    for number in range(60):
        world.propose(1, b"%d" % number)
    for _ in range(len(world.wires)):
        world.deliver(0)
    while world.persist_everywhere():
        pass
    world.wires.clear()
    for node_id in world.up:
        world.crash(node_id)
        world.restart(node_id)
    assert [world.core(n).status().decided_end for n in world.nodes] == [0, 0, 0]
    begun = world.now
    while not world.leaders():
        assert world.now - begun < 60 * 2 * 0.05 + 8.0, "nobody ever leads"
        world.pass_time(0.05)  # so long takes every message
        for _ in range(len(world.wires)):
            world.deliver(0)
        world.persist_everywhere()
    assert world.now - begun > 4.0, "it took several election timeouts"


def test_a_leader_that_cannot_learn_what_it_may_not_propose_makes_room() -> None:
    """Node 2 promised, reported slots below 3 as decided, and is gone for good. Nobody else knows them decided.

    Only another phase 1, without node 2, may propose in those slots again (L4).
    """
    leader = Bench(1, promised=ballot(1, 2))
    at = leader.stand()
    leader.say(2, Promise(at, slot(0), (), None, slot(3), slot(0)))
    assert leader.core.status().role is Role.LEADER
    for _ in range(100):
        effects = leader.tick()
        if leader.core.status().role is not Role.LEADER:
            break
        for e in effects.messages:
            if e.to == 3 and isinstance(e.message, Heartbeat):
                leader.hear_back(3, e.message)
            if e.to == 3 and isinstance(e.message, CatchUp):
                leader.say(3, Decided((), slot(0)))
    assert leader.core.status().role is Role.FOLLOWER
    assert leader.now < 5.0


def test_a_higher_ballot_that_was_only_heard_of_does_not_hide_the_leader_that_is_there() -> None:
    """The leader of 5.3 beat once, and is gone; that of 4.1, which we have promised, still leads."""
    follower = Bench(2, promised=ballot(4, 1))
    follower.say(3, Heartbeat(ballot(5, 3), slot(0), 1, 0.0))
    assert follower.core.status().leader == 3
    follower.say(1, Heartbeat(ballot(4, 1), slot(0), 1, 0.0))
    assert follower.core.status().leader == 3
    follower.now = 1.5
    follower.say(1, Heartbeat(ballot(4, 1), slot(0), 2, 0.0))
    assert follower.core.status().leader == 1


def test_a_nack_from_a_node_that_once_stood_alone_costs_one_change_of_ballot() -> None:
    """It must be heard: that node can follow nobody below its own promise."""
    world = World((1, 2, 3))
    world.elect(1)
    world.isolate(3)
    world.run(0.3)
    world.call(node(3), lambda core: core.receive(node(2), Prepare(ballot(9, 2), slot(0)), world.now))
    world.heal()
    took_s = world.run_until(
        lambda: bool(world.leaders()) and world.core(world.leader()).status().ballot > ballot(9, 2), within_s=4.0
    )
    world.run(2.0)
    assert len(world.leaders()) == 1
    assert took_s < 4.0
