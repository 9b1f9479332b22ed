"""Rounds: one proposer needs one phase 1, several duel, and with faults all comes right in the end."""

import re

import pytest

from kvstore.testing.sim import FaultKind
from tests.testing.cli.stories import play_rounds


def test_one_proposer_decides_a_slot_a_round_with_one_phase_one() -> None:
    outcome, _ = play_rounds(1, nodes=5, rounds=6)
    assert outcome.ok
    assert [row.value for row in outcome.log] == ["open session", *(f"put round{n}=alice" for n in range(1, 7))]
    assert {row.ballot for row in outcome.log} == set(outcome.leader_ballots)
    assert outcome.messages["Accept"] == 28
    assert outcome.messages["Prepare"] <= 8, "one phase 1, or a second where two stood at once"
    assert outcome.answered == 6


@pytest.mark.parametrize("seed", range(1, 6))
def test_every_proposer_of_a_duel_gets_its_value_into_the_log(seed: int) -> None:
    outcome, _ = play_rounds(seed, rounds=3, proposers=3)
    assert outcome.ok, outcome.last_events
    values = dict.fromkeys(
        value for row in outcome.log for value in row.value.split(", ") if value not in {"no-op", "open session"}
    )
    assert sorted(values) == sorted(f"put round{n}={who}" for n in (1, 2, 3) for who in ("alice", "bob", "carol"))
    assert len(outcome.leader_ballots) >= 3


@pytest.mark.parametrize("seed", range(1, 9))
def test_with_every_fault_there_is_all_nodes_agree_in_the_end(seed: int) -> None:
    outcome, stage = play_rounds(seed, rounds=5, proposers=1 + seed % 3, kinds=tuple(FaultKind))
    assert outcome.ok, outcome.last_events
    assert {row.decided_by for row in outcome.log} == {tuple(stage.world.node_ids)}


@pytest.mark.parametrize("kind", FaultKind)
def test_a_fault_alone_is_told(kind: FaultKind) -> None:
    """Each kind that is asked for strikes within a few rounds, and nothing else does."""
    outcome, _ = play_rounds(2, rounds=6, kinds=(kind,))
    assert outcome.ok, outcome.last_events
    assert set(outcome.faults) == {kind.value}
    assert any(f"fault        {kind.value}" in line for line in outcome.story)


def test_the_story_has_a_line_for_every_message_that_caused_something() -> None:
    """And the summary counts those that are not told."""
    outcome, stage = play_rounds(3, rounds=2)
    told = [line for line in outcome.story if re.match(r" *[\d.]+  \d → \d ", line)]
    landed = [arrow for arrow in stage.recorder.arrows if arrow.message is not None and arrow.landed_at is not None]
    assert len(told) + outcome.heartbeats_untold == len(landed)
    assert sum(outcome.messages.values()) - len(landed) <= 2, "what is still under way when the story ends"


def test_each_acceptance_and_promise_is_told_with_what_brought_it_about() -> None:
    outcome, _ = play_rounds(1, rounds=1)
    promised = [line for line in outcome.story if re.search(r"promises \d", line)]
    assert [("Prepare" in line) for line in promised] == ["itself" not in line for line in promised]
    accepted = [line for line in outcome.story if "accepts slot" in line]
    assert len(accepted) == 6
    assert [("Accept " in line) for line in accepted] == ["itself" not in line for line in accepted]
    assert sum("chosen" in line for line in accepted) == 2
