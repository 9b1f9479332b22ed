"""Faults that seeds or readers found, each as the shortest story that shows it. Seeds drift; stories stay."""

import pytest

from kvstore.paxos.durable import AcceptedValue, GoverningConfiguration, LearnRecord
from kvstore.paxos.effects import Fate, ProposalLost, ReadReady, Role
from kvstore.paxos.messages import (
    Accept,
    Accepted,
    AcceptedEntry,
    CatchUp,
    Decided,
    Envelope,
    Heartbeat,
    HeartbeatReply,
    Prepare,
    Promise,
    Suspect,
    SuspectReply,
)
from kvstore.paxos.types import ZERO_BALLOT

from .bench import Bench, app, ballot, config_of, node, slot
from .world import World


def entry(number: int, at: tuple[int, int], text: str) -> AcceptedEntry:
    return AcceptedEntry(slot(number), ballot(*at), app(text))


# Agreement (L5)


def test_a_leader_that_learns_that_its_proposal_lost_leads_no_longer() -> None:
    """Ballot 1.1 proposed "mine"; a higher ballot, of which it heard nothing, chose "theirs" in that slot.

    Were it to lead on, its heartbeats would tell every node that accepted "mine" at 1.1 that this is decided.
    """
    leader = Bench(1)
    at = leader.lead()
    leader.propose("mine")
    leader.sync()
    effects = leader.say(3, Decided((entry(0, (2, 3), "theirs"),), slot(1)))
    effects = leader.sync() if not effects.decided else effects
    assert [d.value for d in effects.decided] == [app("theirs")]
    assert effects.proposals_lost == (ProposalLost(effects.proposals_lost[0].proposal_id, Fate.NOT_APPLIED),)
    assert leader.core.status().role is Role.FOLLOWER
    later = leader.tick().messages
    assert not [e for e in later if getattr(e.message, "ballot", None) == at]


def test_a_leader_that_learns_of_a_slot_it_never_proposed_leads_no_longer() -> None:
    """Its phase 1 found nothing there, so it was chosen above its ballot (P2c)."""
    leader = Bench(1)
    leader.lead()
    leader.say(3, Decided((entry(0, (2, 3), "theirs"),), slot(1)))
    assert leader.core.status().role is Role.FOLLOWER
    assert leader.core.status().decided_end == 1


def test_a_leader_that_learns_what_it_proposed_itself_leads_on() -> None:
    """A follower decided it first and told: no contradiction."""
    leader = Bench(1)
    at = leader.lead()
    leader.propose("mine")
    effects = leader.say(3, Decided((AcceptedEntry(slot(0), at, app("mine")),), slot(1)))
    assert [d.proposal_id is not None for d in effects.decided] == [True]
    assert leader.core.status().role is Role.LEADER
    assert leader.propose("next").messages[0] == Envelope(node(2), Accept(at, slot(1), app("next"), slot(1)))


def test_slots_learned_while_standing_are_not_proposed_again() -> None:
    """Promises report them, made before they were decided; the candidate has learned them meanwhile."""
    candidate = Bench(1, promised=ballot(1, 2))
    at = candidate.stand()
    found = tuple(entry(s, (1, 2), str(s)) for s in range(4))
    candidate.say(3, Decided(found[:3], slot(3)))
    effects = candidate.say(2, Promise(at, slot(0), found, None, slot(0), slot(0)))
    assert candidate.core.status().role is Role.LEADER
    assert {e.message.slot for e in effects.messages if isinstance(e.message, Accept)} == {3}


@pytest.mark.parametrize("cached_slots_max", [4096, 1], ids=["in memory", "in the log only"])
def test_an_old_leaders_value_does_not_overwrite_what_is_decided(cached_slots_max: int) -> None:
    """Node 3 never promised ballot 3, in which slot 0 was decided; the leader of ballot 2 still proposes what lost.

    Our promise allows it. Accepted, it would be the newest record of slot 0, and read from the log as decided.
    """
    replica = Bench(3, promised=ballot(1, 1), cached_slots_max=cached_slots_max)
    replica.say(1, Decided((entry(0, (3, 1), "chosen"), entry(1, (3, 1), "next")), slot(2)))
    replica.sync()
    effects = replica.say(2, Accept(ballot(2, 2), slot(0), app("lost"), slot(0)))
    assert effects.write is None
    assert effects.messages == ()


def test_a_value_is_not_given_out_while_the_log_may_come_back_with_another() -> None:
    """It voted for "old", which lost. The state could be durable before the log: a crash, and "old" is read as decided.

    Three ways to learn that "new" is decided, one rule: first the record that overrules, then the decision.
    """
    old = {0: AcceptedValue(ballot(1, 3), app("old"))}

    by_question = Bench(2, promised=ballot(1, 3), accepted=old)
    effects = by_question.say(1, Decided((entry(0, (2, 1), "new"),), slot(1)))
    assert effects.write is not None
    assert effects.write.records == (LearnRecord(slot(0), ballot(2, 1), app("new")),)
    assert effects.decided == ()
    assert [d.value for d in by_question.sync().decided] == [app("new")]

    by_leader = Bench(2, promised=ballot(1, 3), accepted=old)
    by_leader.say(1, Accept(ballot(2, 1), slot(0), app("new"), slot(0)))
    assert by_leader.say(1, Heartbeat(ballot(2, 1), slot(1), 1, 0.0)).decided == ()
    assert [d.value for d in by_leader.sync().decided] == [app("new")]

    by_quorum = Bench(1, promised=ballot(1, 3), accepted=old)
    at = by_quorum.stand()
    found = (entry(0, (2, 2), "new"),)
    by_quorum.say(2, Promise(at, slot(0), found, None, slot(0), slot(0)))
    by_quorum.accepted_by(2, at, 0)
    assert by_quorum.accepted_by(3, at, 0).decided == ()
    assert [d.value for d in by_quorum.sync().decided] == [app("new")]


def test_a_state_that_outran_its_log_is_not_read_back_as_another_value() -> None:
    """The same, whole: node 3 crashes with the decision applied and durable, and later reads that slot from its log."""
    world = World((1, 2, 3), cached_slots_max=8)
    world.elect(3)
    world.isolate(3)
    world.propose(3, b"old")
    world.persist(node(3))
    world.wires.clear()
    world.run_until(lambda: any(n != 3 for n in world.leaders()), within_s=5.0)
    world.propose(world.leader(), b"new")
    world.run(0.1)
    world.heal()
    while world.nodes[node(3)].applied_end == 0:
        if world.wires:
            world.deliver()
        elif not world.persist_everywhere():
            world.pass_time(0.1)
    world.checkpoint(node(3))
    world.crash(node(3))
    world.wires.clear()
    world.restart(node(3))
    served = world.nodes[node(3)].disk.read_decided(slot(0), slot(1))
    assert [e.value for e in served] == [app("new")]


def test_records_below_the_applied_end_are_left_to_the_log() -> None:
    """A shell may give more than it must; a stale vote among it is neither cached nor served."""
    stale = {0: AcceptedValue(ballot(1, 3), app("stale")), 1: AcceptedValue(ballot(1, 3), app("b"))}
    replica = Bench(2, promised=ballot(1, 3), accepted=stale, decided_end=1)
    replica.say(1, Prepare(ballot(2, 1), slot(0)))
    (promise,) = [e.message for e in replica.sync().messages]
    assert isinstance(promise, Promise)
    assert promise.accepted == (entry(1, (1, 3), "b"),)
    assert replica.say(1, CatchUp(slot(0))).log_reads != ()


# Linearizable reads (L7)


def test_a_read_waits_for_a_configuration_that_phase_1_only_found() -> None:
    """α = 2; slot 0 moves the cluster from 1, 2, 3 to 4, 5, 6, who then choose slot 2 without any of the old nodes.

    1 stops. 2 and 3 have accepted slot 0 and do not know that it is decided: they elect 2 by the old configuration
    alone. Its quorum of 2 and 3 confirms reads — of a state that lacks slot 2, which 1 has acknowledged.
    """
    world = World((1, 2, 3), spare=(4, 5, 6), alpha=2, inflight_slots_max=2)
    world.elect(1)
    new = config_of(4, 5, 6, epoch=2)
    world.propose_configuration(1, new)
    world.propose(1, b"one")
    while world.nodes[node(1)].applied_end < 2:
        for n in (2, 3):
            world.persist(node(n))
        world.persist(node(1))
        index = next(i for i, w in enumerate(world.wires) if isinstance(w.message, Accept | Accepted))
        world.deliver(index)
    world.wires.clear()
    world.isolate(2)
    world.isolate(3)
    world.run_until(lambda: world.core(1).window_free > 0, within_s=0.9)
    world.propose(1, b"two")
    world.flush()
    assert world.decided_end >= 3
    assert world.nodes[node(2)].applied_end == 0
    world.isolate(1)
    world.blocked -= {(node(2), node(3)), (node(3), node(2))}
    world.run_until(lambda: any(n in (2, 3) for n in world.leaders()), within_s=5.0)
    leader = next(n for n in world.leaders() if n in (2, 3))
    read = world.read(leader)
    world.run(0.3)
    assert world.nodes[leader].reads_ready == {}, "nobody of 4, 5, 6 can be asked"
    world.heal()
    world.isolate(1)
    world.run_until(lambda: read in world.nodes[leader].reads_ready or not world.nodes[leader].reads, within_s=5.0)
    assert world.nodes[leader].reads_ready.get(read, world.decided_end) >= 3


def test_a_read_covers_slots_that_a_configuration_decided_which_was_never_asked() -> None:
    """α = 2; slot 2 is governed by node 2 alone, the slots before and after it by node 1 alone.

    1 has acknowledged slot 2 by the vote of 2, stops without a record of it, and leads again by its own promise. It
    learns slot 2 from 2 and needs nobody else from then on; but slot 2 was decided before the read came. The index
    is what another node reads by, so that 1 itself knows better by then does not help.
    """
    world = World((1,), spare=(2,), alpha=2, inflight_slots_max=2)
    world.elect(1)
    world.propose_configuration(1, config_of(2, epoch=2))
    world.flush()
    world.propose_configuration(1, config_of(1, epoch=3, learners=(2,)))
    world.run_until(lambda: world.core(1).window_free > 0, within_s=1.0)
    world.propose(1, b"two")
    while world.nodes[node(1)].applied_end < 3:
        world.persist(node(2))
        world.deliver()
    world.pass_time(0.1)
    while world.wires:
        world.deliver()
    assert world.nodes[node(2)].applied_end == 3
    world.crash(node(1))
    world.restart(node(1))
    while world.nodes[node(1)].applied_end < 2:
        world.pass_time(0.1)
        world.persist(node(1))
    world.wires[:] = [w for w in world.wires if not isinstance(w.message, Prepare)]
    read = world.read(1)
    while world.nodes[node(1)].applied_end < 3:
        world.wires[:] = [w for w in world.wires if not isinstance(w.message, Prepare)]
        if world.wires:
            world.deliver()
        else:
            world.pass_time(0.1)
    assert world.nodes[node(1)].reads_ready[read] == 3


# Progress


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


def test_two_nodes_that_know_nothing_new_do_not_ask_each_other_in_circles() -> None:
    """Node 1 spoke of slots that it decided, and is gone. The quiet must return between two retries."""
    world = World((1, 2, 3))
    world.elect(1)
    world.propose(1, b"v")
    while not world.decided:
        if world.wires:
            world.deliver()
        else:
            for n in world.up:
                world.persist(n)
    world.wires.clear()
    world.call(node(2), lambda core: core.receive(node(3), SuspectReply(99, False, ZERO_BALLOT, slot(9)), world.now))
    world.crash(node(1))
    world.flush(steps_max=50)
    sent = sum(isinstance(w.message, CatchUp) for w in world.wires)
    assert sent == 0


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


def test_a_snapshot_does_not_swallow_what_was_decided_but_not_yet_taken() -> None:
    """The proposal's answer was in the drain that the snapshot made void; its fate is told all the same."""
    leader = Bench(1)
    at = leader.lead()
    proposal_id = leader.core.propose(b"v", leader.now)
    leader.drain()
    for sender in (2, 3):
        leader.core.receive(node(sender), Accepted(at, slot(0), slot(1)), leader.now)
    configurations = (GoverningConfiguration(slot(0), config_of(1, 2, 3)),)
    leader.core.installed(decided_end=slot(5), configurations=configurations, now=leader.now)
    effects = leader.drain()
    assert effects.decided == ()
    assert effects.proposals_lost == (ProposalLost(proposal_id, Fate.UNKNOWN),)


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


def test_the_reported_index_covers_slots_found_late() -> None:
    """A promise that comes after the quorum's may report more: the read that is not answered yet waits for it too."""
    leader = Bench(1, promised=ballot(1, 2))
    at = leader.stand()
    leader.say(2, Promise(at, slot(0), (), None, slot(0), slot(0)))
    read_id = leader.core.confirm_leadership(leader.now)
    (beat, *_) = [e.message for e in leader.drain().messages if isinstance(e.message, Heartbeat)]
    leader.say(3, Promise(at, slot(0), (entry(0, (1, 2), "late"),), None, slot(0), slot(0)))
    assert leader.hear_back(2, beat).reads_ready == ()
    leader.accepted_by(2, at, 0)
    assert leader.accepted_by(3, at, 0).reads_ready == (ReadReady(read_id, slot(1)),)
