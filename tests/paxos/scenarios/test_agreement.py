"""Faults against agreement (L5): a value that lost its slot, and could have passed for the decided one."""

import pytest

from kvstore.paxos.durable import AcceptedValue, LearnRecord
from kvstore.paxos.effects import Fate, ProposalLost, Role
from kvstore.paxos.messages import Accept, AcceptedEntry, CatchUp, Decided, Envelope, Heartbeat, Prepare, Promise
from tests.paxos.bench import Bench, app, ballot, entry, node, slot
from tests.paxos.world import World


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
