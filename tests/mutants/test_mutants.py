"""Every deliberate mistake is caught by the simulator."""

import statistics

import pytest

from tests.mutants.catalogue import FIRST_SEED, MUTANTS, recorded
from tests.mutants.hunt import SEEDS_MAX, hunt
from tests.mutants.mutant import Edit, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.about.replace(" ", "-"))
def test_it_is_caught(mutant: Mutant) -> None:
    """By the seed that did it when all were hunted last; where the code has moved since, by one of the first."""
    seed, _law = recorded()[mutant.about]
    assert hunt(mutant, (seed, *range(FIRST_SEED, FIRST_SEED + SEEDS_MAX))), f"survives: {mutant.about}"


def test_there_are_enough_of_them_and_none_twice() -> None:
    assert len(MUTANTS) >= 40
    assert len({mutant.about for mutant in MUTANTS}) == len(MUTANTS)
    assert len({mutant.edits for mutant in MUTANTS}) == len(MUTANTS)


def test_they_are_caught_soon() -> None:
    """The median by one of the first 200 seeds, as recorded when all were hunted last."""
    assert set(recorded()) == {mutant.about for mutant in MUTANTS}
    assert statistics.median(seed - FIRST_SEED + 1 for seed, _law in recorded().values()) <= 200


def test_a_mutant_is_planted_only_within() -> None:
    mutant = MUTANTS[0]
    sound = [edit.plain.__code__ for edit in mutant.edits]
    with mutant.planted():
        assert not any(edit.plain.__code__ in sound for edit in mutant.edits)
    assert [edit.plain.__code__ for edit in mutant.edits] == sound


def test_a_mutant_whose_code_has_moved_says_so() -> None:
    stale = Mutant("stale", Edit(MUTANTS[0].edits[0].function, "words that are nowhere", ""))
    with pytest.raises(ValueError, match="0 times 'words that are nowhere'"), stale.planted():
        pass


def test_a_function_may_be_edited_twice() -> None:
    """Both edits are made, and both taken back."""

    def weighed(one: int, other: int) -> int:
        return one + other

    twice = Mutant("twice", Edit(weighed, "one +", "2 * one +"), Edit(weighed, "+ other", "+ 3 * other"))
    with twice.planted():
        assert weighed(1, 1) == 5
    assert weighed(1, 1) == 2
