"""Quorums come from the configuration that governs a slot, never from a count of peers."""

import itertools

import pytest

from kvstore.paxos.configurations import Configurations, is_quorum
from kvstore.paxos.durable import GoverningConfiguration
from kvstore.paxos.types import Configuration

from .bench import config_of, node, slot

ALPHA = 4


def configurations(*governing: tuple[int, Configuration]) -> Configurations:
    return Configurations(tuple(GoverningConfiguration(slot(s), c) for s, c in governing), alpha=ALPHA)


@pytest.mark.parametrize(
    ("voters", "nodes", "expected"),
    [
        ((1,), (1,), True),
        ((1,), (), False),
        ((1, 2), (1,), False),
        ((1, 2, 3), (1, 2), True),
        ((1, 2, 3), (1, 4, 5), False),
        ((1, 2, 3, 4), (1, 2), False),
        ((1, 2, 3, 4), (1, 2, 3), True),
        ((1, 2, 3, 4, 5), (3, 4, 5), True),
    ],
)
def test_a_quorum_is_a_majority_of_the_voters(voters: tuple[int, ...], nodes: tuple[int, ...], expected: bool) -> None:
    assert is_quorum(config_of(*voters), [node(n) for n in nodes]) is expected


def test_learners_do_not_vote() -> None:
    assert not is_quorum(config_of(1, 2, 3, learners=(4, 5)), [node(1), node(4), node(5)])


@pytest.mark.parametrize("size", range(1, 8))
def test_any_two_quorums_share_a_voter(size: int) -> None:
    configuration = config_of(*range(1, size + 1))
    quorums = list(itertools.combinations(configuration.voters, configuration.quorum_size))
    assert all(set(one) & set(other) for one, other in itertools.combinations(quorums, 2))


def test_what_is_decided_in_a_slot_governs_alpha_slots_later() -> None:
    known = configurations((0, config_of(1, 2, 3)))
    known.decide(slot(2), config_of(1, 2, 4, epoch=2))
    assert [known.at(slot(s)).epoch for s in (0, 2, 5, 6, 100)] == [1, 1, 1, 2, 2]


def test_all_configurations_of_undecided_slots_count() -> None:
    """Also those that govern only later ones: phase 1 speaks for all of them."""
    known = configurations((0, config_of(1, 2, 3)), (6, config_of(3, 4, 5, epoch=2)))
    assert [c.epoch for c in known.undecided(slot(5))] == [1, 2]
    assert [c.epoch for c in known.undecided(slot(6))] == [2]
    assert not known.quorum_everywhere(slot(5), [node(1), node(2)])
    assert known.quorum_everywhere(slot(6), [node(4), node(5)])
    assert known.quorum_everywhere(slot(5), [node(2), node(3), node(4)])
    assert known.members(slot(5)) == (1, 2, 3, 4, 5)
    assert known.members(slot(6)) == (3, 4, 5)


def test_the_quorum_floor_is_what_a_quorum_of_each_has_reached() -> None:
    known = configurations((0, config_of(1, 2, 3)))
    assert known.quorum_floor(slot(0), {node(1): 9.0, node(2): 5.0, node(3): 1.0}) == 5.0
    assert known.quorum_floor(slot(0), {node(1): 9.0}) == float("-inf")
    two = configurations((0, config_of(1, 2, 3)), (6, config_of(3, 4, 5, epoch=2)))
    times = {node(1): 9.0, node(2): 8.0, node(3): 7.0, node(4): 3.0}
    assert two.quorum_floor(slot(0), times) == 3.0
    assert two.quorum_floor(slot(0), dict(reversed(times.items()))) == 3.0


def test_what_governs_only_decided_slots_is_forgotten() -> None:
    known = configurations((0, config_of(1)), (4, config_of(2, epoch=2)), (8, config_of(3, epoch=3)))
    known.forget_before(slot(7))
    assert [g.from_slot for g in known.snapshot()] == [4, 8]
    with pytest.raises(AssertionError, match="before the first known"):
        known.at(slot(3))


def test_two_configurations_never_govern_from_one_slot() -> None:
    with pytest.raises(AssertionError):
        configurations((4, config_of(1)), (4, config_of(2)))


@pytest.mark.parametrize("voters", [(), (2, 1), (1, 1)], ids=["none", "unsorted", "twice"])
def test_voters_are_some_sorted_and_distinct(voters: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError):
        config_of(*voters)


def test_nobody_votes_and_learns_at_once() -> None:
    with pytest.raises(AssertionError):
        config_of(1, 2, learners=(2,))
