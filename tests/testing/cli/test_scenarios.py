"""The plots of the scenarios come about with any seed, and the real code ends them as the papers say."""

import pytest

from kvstore.testing.cli.play import Outcome
from kvstore.testing.cli.scenarios import SCENARIOS
from tests.testing.cli.stories import play_scenario

SEEDS = range(1, 9)


def values(outcome: Outcome) -> list[str]:
    """What the log has, but for the sessions in which nodes propose."""
    return [row.value for row in outcome.log if row.value != "open session"]


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_law_holds_and_all_nodes_end_with_the_same_log(name: str, seed: int) -> None:
    outcome, stage = play_scenario(name, seed)
    assert outcome.ok, outcome.last_events
    everybody = tuple(range(1, SCENARIOS[name].nodes + 1))
    assert outcome.log
    assert {row.decided_by for row in outcome.log} == {everybody}
    assert len({stage.world.processes[node].store.state_hash for node in stage.world.node_ids}) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_clean_round_needs_one_phase_one_for_all_slots(seed: int) -> None:
    outcome, _ = play_scenario("clean", seed)
    assert values(outcome) == ["put x=1", "put x=2"]
    assert len(outcome.leader_ballots) == 1
    assert (outcome.messages["Prepare"], outcome.messages["Accept"]) == (2, 6)


@pytest.mark.parametrize("seed", SEEDS)
def test_in_a_duel_accepts_are_refused_and_both_values_are_decided_in_the_end(seed: int) -> None:
    outcome, _ = play_scenario("duel", seed)
    assert outcome.messages["Nack"] >= 1
    assert any("Accept " in line and "refuses" in line for line in outcome.story)
    assert sorted(dict.fromkeys(values(outcome))) == ["put x=2", "put x=3"]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_value_that_a_dead_leader_had_accepted_is_decided_by_the_next_one(seed: int) -> None:
    outcome, _ = play_scenario("leader-crash", seed)
    assert values(outcome) == ["put x=1"]
    assert len(outcome.leader_ballots) >= 2
    assert any("alice" in line and "nobody knows" in line for line in outcome.story)


@pytest.mark.parametrize("seed", SEEDS)
def test_of_two_accepted_values_that_of_the_highest_ballot_is_adopted(seed: int) -> None:
    """Although the adopting leader had accepted the other one itself."""
    outcome, _ = play_scenario("adoption", seed)
    assert values(outcome) == ["put x=bob"]
    assert any("1            accepts slot 3 at 1.1 itself" in line for line in outcome.story)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_gap_is_filled_with_a_no_op_below_a_value_that_survived(seed: int) -> None:
    outcome, _ = play_scenario("gap", seed)
    assert values(outcome) == ["no-op", "put y=2"]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_minority_decides_nothing_until_it_is_one_no_more(seed: int) -> None:
    outcome, _ = play_scenario("partition", seed)
    assert values(outcome)[0] == "put x=majority"
    told = "\n".join(outcome.story)
    assert told.index("→ bob      done") < told.index("The partition heals")
    assert "1 decides" not in told[: told.index("The partition heals")]
