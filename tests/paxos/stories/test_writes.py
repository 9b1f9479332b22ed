"""Slots in flight, what counts only once it is durable, and what becomes of proposals."""

import pytest

from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.durable import AcceptedValue, AcceptRecord, GoverningConfiguration
from kvstore.paxos.effects import DecidedValue, Fate, ProposalLost, Role
from kvstore.paxos.errors import WindowFull
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
)
from kvstore.paxos.types import Noop
from tests.paxos.bench import Bench, app, ballot, config_of, heartbeats, node, slot, to_all

# Pipelining and durability


def test_slots_are_in_flight_up_to_the_window_and_no_further() -> None:
    leader = Bench(1, inflight_slots_max=3)
    at = leader.lead()
    for text in "abc":
        leader.propose(text)
    assert leader.core.window_free == 0
    with pytest.raises(WindowFull):
        leader.core.propose(b"d", leader.now)
    assert leader.drain().messages == (), "nothing was proposed"
    leader.accepted_by(2, at, 0)
    leader.accepted_by(3, at, 0)
    assert leader.core.window_free == 1
    assert leader.propose("d").messages[0] == Envelope(node(2), Accept(at, slot(3), app("d"), slot(1)))


def test_the_leaders_own_acceptance_counts_only_once_it_is_durable() -> None:
    """L2: with one follower's answer, the slot is decided when the leader's own disk has it, and not before."""
    leader = Bench(1)
    at = leader.lead()
    effects = leader.propose("v")
    assert effects.write is not None
    assert effects.write.records == (AcceptRecord(slot(0), at, app("v")),)
    assert effects.messages == to_all(leader.others, Accept(at, slot(0), app("v"), slot(0))), "Accept leaves at once"
    assert leader.accepted_by(2, at, 0).decided == ()
    assert [d.slot for d in leader.sync().decided] == [0]


def test_followers_can_decide_before_the_leaders_own_disk() -> None:
    leader = Bench(1)
    at = leader.lead()
    leader.propose("v")
    leader.accepted_by(2, at, 0)
    (decided,) = leader.accepted_by(3, at, 0).decided
    assert decided.value == app("v")
    assert leader.sync().decided == (), "once only"


def test_a_follower_counts_all_slots_of_a_turn_in_one_write_and_one_answer() -> None:
    follower = Bench(2)
    for number in range(3):
        follower.core.receive(node(1), Accept(ballot(1, 1), slot(number), app(str(number)), slot(0)), 0.0)
    effects = follower.drain()
    assert effects.write is not None
    assert len(effects.write.records) == 4, "a promise and three accepts"
    assert effects.messages == ()
    assert follower.sync().messages == (Envelope(node(1), Accepted(ballot(1, 1), slot(0), slot(3))),)


def test_an_accept_that_was_lost_is_sent_again_to_those_who_lack_it() -> None:
    leader = Bench(1, (1, 2, 3, 4, 5))
    at = leader.lead()
    leader.propose("v")
    leader.accepted_by(2, at, 0)
    effects = leader.tick(after_s=0.31)
    resent = [e for e in effects.messages if isinstance(e.message, Accept)]
    assert resent == list(to_all((node(3), node(4), node(5)), Accept(at, slot(0), app("v"), slot(0))))


def test_an_accepted_of_another_ballot_counts_for_nothing() -> None:
    leader = Bench(1, promised=ballot(1, 1))
    at = leader.lead()
    leader.propose("v")
    leader.accepted_by(2, ballot(1, 1), 0)
    assert leader.accepted_by(3, ballot(1, 1), 0).decided == ()
    leader.accepted_by(2, at, 0)
    assert len(leader.accepted_by(3, at, 0).decided) == 1


def test_a_follower_takes_decided_end_only_for_what_it_accepted_at_that_ballot() -> None:
    """L5: in slot 0 it accepted something at a lower ballot, which may have lost; it asks instead."""
    accepted = {0: AcceptedValue(ballot(1, 3), app("old")), 1: AcceptedValue(ballot(2, 1), app("new"))}
    follower = Bench(2, promised=ballot(2, 1), accepted=accepted)
    effects = follower.say(1, Heartbeat(ballot(2, 1), slot(2), 1, 0.0))
    assert effects.decided == ()
    assert effects.messages == (
        Envelope(node(1), HeartbeatReply(ballot(2, 1), 1, 0.0, slot(0))),
        Envelope(node(1), CatchUp(slot(0))),
    )


def test_news_of_a_decided_slot_does_not_wait_for_the_next_heartbeat() -> None:
    leader = Bench(1)
    at = leader.lead()
    heartbeats(leader)
    leader.propose("v")
    leader.accepted_by(2, at, 0)
    leader.accepted_by(3, at, 0)
    deadline = leader.core.next_deadline()
    assert deadline == leader.now + PaxosConfig(node_id=node(1)).announce_delay_s
    (beat, _) = heartbeats(leader)
    assert beat.decided_end == 1


def test_who_waits_for_the_news_can_have_it_at_once() -> None:
    leader = Bench(1)
    at = leader.lead()
    leader.propose("v")
    leader.accepted_by(2, at, 0)
    leader.accepted_by(3, at, 0)
    leader.core.announce_decided(leader.now)
    assert {type(e.message) for e in leader.drain().messages} == {Heartbeat}
    leader.core.announce_decided(leader.now)
    assert leader.drain().messages == (), "there is no more news"


# What becomes of proposals


def test_a_proposal_that_the_next_leader_adopts_succeeds_for_who_proposed_it() -> None:
    """The old leader still knows whose it was."""
    old = Bench(1)
    at = old.lead()
    proposal_id = old.core.propose(b"v", old.now)
    old.drain()
    effects = old.say(2, Prepare(ballot(9, 2), slot(0)))
    assert effects.proposals_lost == (), "its fate is open"
    old.say(2, Accept(ballot(9, 2), slot(0), app("v"), slot(0)))
    effects = old.say(2, Heartbeat(ballot(9, 2), slot(1), 1, 0.0))
    assert effects.decided == (DecidedValue(slot(0), app("v"), proposal_id),)
    assert at < ballot(9, 2)


def test_a_proposal_whose_slot_another_value_took_is_provably_not_applied() -> None:
    old = Bench(1)
    old.lead()
    proposal_id = old.core.propose(b"v", old.now)
    old.drain()
    old.say(2, Prepare(ballot(9, 2), slot(0)))
    effects = old.say(2, Decided((AcceptedEntry(slot(0), ballot(9, 2), Noop()),), slot(1)))
    assert effects.proposals_lost == () or effects.decided == ()
    effects = old.sync()
    assert effects.decided == (DecidedValue(slot(0), Noop(), None),)
    assert effects.proposals_lost == (ProposalLost(proposal_id, Fate.NOT_APPLIED),)


def test_a_proposal_below_a_snapshot_has_an_unknown_fate() -> None:
    old = Bench(1)
    old.lead()
    proposal_id = old.core.propose(b"v", old.now)
    old.drain()
    configurations = (GoverningConfiguration(slot(0), config_of(1, 2, 3)),)
    old.core.installed(decided_end=slot(50), configurations=configurations, now=old.now)
    effects = old.drain()
    assert effects.proposals_lost == (ProposalLost(proposal_id, Fate.UNKNOWN),)
    assert effects.decided == ()
    assert old.core.status().role is Role.FOLLOWER
    assert old.core.status().decided_end == 50


def test_a_snapshot_that_is_older_than_the_state_changes_nothing() -> None:
    ahead = Bench(1, decided_end=60)
    before = ahead.core.status()
    configurations = (GoverningConfiguration(slot(0), config_of(1, 2, 3)),)
    ahead.core.installed(decided_end=slot(50), configurations=configurations, now=0.0)
    assert ahead.core.status() == before
