"""Whom a node believes to lead, and when it doubts: clocks and chance only, nothing that bears on safety (L14)."""

from random import Random

import pytest

from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.election import Election
from kvstore.paxos.types import ZERO_BALLOT

from .bench import ballot, node

CONFIG = PaxosConfig(node_id=node(1), heartbeat_s=0.1, election_timeout_s=1.0)


def election(seed: int = 1) -> Election:
    return Election(CONFIG, Random(seed), highest_seen=ZERO_BALLOT, now=0.0)


@pytest.mark.parametrize("seed", range(20))
def test_every_wait_has_its_range(seed: int) -> None:
    doubt = election(seed)
    assert 1.0 <= doubt.deadline <= 2.0
    doubt.wait_at_start(10.0)
    assert 10.15 <= doubt.deadline <= 10.3
    doubt.wait_after_nack(10.0)
    assert 10.1 <= doubt.deadline <= 10.6
    doubt.lost_leader(10.0)
    assert 10.0 < doubt.deadline <= 10.1
    doubt.heard_leader(10.0)
    assert 11.0 <= doubt.deadline <= 12.0
    doubt.begin_suspicion(node(1), 20.0)
    assert 20.5 <= doubt.deadline <= 21.0


def test_waits_differ_from_node_to_node() -> None:
    """Else two candidates would collide for ever."""
    assert len({election(seed).deadline for seed in range(50)}) == 50


def test_it_follows_the_highest_ballot_that_speaks() -> None:
    doubt = election()
    assert (doubt.leader, doubt.ballot) == (None, ZERO_BALLOT)
    doubt.follow(ballot(2, 3), 1.0)
    doubt.follow(ballot(1, 2), 1.1)
    assert (doubt.leader, doubt.ballot) == (3, ballot(2, 3)), "it hears a leader that outranks this one"
    doubt.follow(ballot(3, 2), 1.2)
    assert (doubt.leader, doubt.ballot, doubt.highest_seen) == (2, ballot(3, 2), ballot(3, 2))


def test_a_ballot_that_is_heard_no_more_gives_way_to_a_lower_one_that_is() -> None:
    """Its leader may be gone. A round that can win lies above it all the same."""
    doubt = election()
    doubt.follow(ballot(9, 3), 1.0)
    doubt.follow(ballot(2, 2), 2.5)
    assert (doubt.leader, doubt.ballot, doubt.highest_seen) == (2, ballot(2, 2), ballot(9, 3))


def test_who_stands_is_not_believed_to_lead() -> None:
    doubt = election()
    doubt.follow(ballot(2, 3), 1.0)
    doubt.set_leader(None, ballot(3, 1))
    assert (doubt.leader, doubt.ballot) == (None, ballot(3, 1))
    doubt.saw(ballot(2, 9))
    assert doubt.highest_seen == ballot(3, 1)


def test_a_leader_is_heard_for_one_election_timeout() -> None:
    doubt = election()
    assert not doubt.hears_leader(0.0)
    doubt.heard_leader(5.0)
    assert doubt.hears_leader(5.9)
    assert not doubt.hears_leader(6.0)


def test_a_lost_link_is_a_reason_to_say_so_to_others() -> None:
    doubt = election()
    doubt.heard_leader(5.0)
    doubt.lost_leader(5.1)
    assert not doubt.hears_leader(5.1)


def test_hearing_the_leader_ends_a_suspicion() -> None:
    doubt = election()
    doubt.begin_suspicion(node(1), 2.0)
    assert doubt.doubters == {node(1): None}
    doubt.heard_leader(2.1)
    assert doubt.doubters is None


def test_each_suspicion_has_a_new_number() -> None:
    doubt = election()
    assert [doubt.begin_suspicion(node(1), float(n)) for n in range(3)] == [1, 2, 3]


def test_a_doubt_counts_for_the_running_suspicion_only() -> None:
    doubt = election()
    assert not doubt.heard_doubt(node(2), 0), "nothing was asked"
    doubt.begin_suspicion(node(1), 2.0)
    doubt.begin_suspicion(node(1), 4.0)
    assert not doubt.heard_doubt(node(2), 1)
    assert doubt.heard_doubt(node(3), 2)
    assert doubt.doubters == {node(1): None, node(3): None}
    doubt.end_suspicion()
    assert not doubt.heard_doubt(node(2), 2)


def test_it_yields_to_others_once_and_then_takes_its_turn() -> None:
    """The only node that reaches a quorum may be the one that all the others keep asking."""
    doubt = election()
    doubt.wait_briefly(2.0)
    doubt.answered_doubt(2.0)
    yielded = doubt.deadline
    assert 2.5 <= yielded <= 3.0
    for ask in range(1, 20):
        doubt.answered_doubt(2.0 + ask / 20)
    assert doubt.deadline == yielded
    doubt.begin_suspicion(node(1), yielded)
    doubt.answered_doubt(yielded + 0.4)
    assert doubt.deadline >= yielded + 0.9, "after its own turn it yields again"


def test_yielding_never_brings_a_deadline_forward() -> None:
    doubt = election()
    doubt.heard_leader(2.0)
    before = doubt.deadline
    doubt.answered_doubt(2.0)
    assert doubt.deadline == max(before, doubt.deadline)
