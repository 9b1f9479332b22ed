"""``kv-sim check``: finds a planted mistake, tells how to repeat it, and with how few faults it shows."""

import json
import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.paxos.phase_one import PhaseOne
from kvstore.testing.cli.minimize import minimize
from kvstore.testing.cli.seeds import in_order
from kvstore.testing.sim import LAWS, FaultKind
from tests.testing.cli.command import invoke, kv_sim
from tests.testing.cli.stories import forget_to_adopt


def test_seeds_that_break_nothing_end_with_0_and_the_tables() -> None:
    result = invoke("check", "--seeds", "3", "--jobs", "1")
    assert result.exit_code == 0, result.output
    assert "No law was broken." in result.output
    for law in LAWS:
        assert re.search(rf"│ {law} ", result.output), law
    for kind in FaultKind:
        assert kind.value.replace(" ", "-") in result.output
    for median in ("events", "client operations", "faults", "leader changes"):
        assert re.search(rf"│ {median} .*\d", result.output), median
    assert re.search(r"\d seeds read by leases, which answered [\d,]+ reads alone", result.output)
    assert "seeds/s" in result.output


def test_several_processes_find_what_one_finds() -> None:
    one = kv_sim("check", "--seeds", "2", "--nodes", "3", "--jobs", "1", "-o", "json")
    two = kv_sim("check", "--seeds", "2", "--nodes", "3", "--jobs", "2", "-o", "json")
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    assert one.stdout == two.stdout
    assert json.loads(one.stdout)["seeds"] == 2


def test_results_come_in_the_order_of_the_jobs() -> None:
    assert list(in_order(abs, iter(range(-40, 0)), processes=2)) == list(range(40, 0, -1))


def test_a_broken_law_stops_it_with_seed_law_last_events_and_the_command_that_repeats_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PhaseOne, "_adopt", forget_to_adopt)
    result = invoke("check", "--seeds", "100", "--jobs", "1", "--nodes", "3,5", "--faults", "crash,pause,loss,split")
    assert result.exit_code == 1
    found = re.search(r"^seed (\d+) breaks (\w+) ", result.output, re.MULTILINE)
    assert found, result.output
    assert found[2] == "L4"
    assert "The last events:" in result.output
    command = shlex.split(result.output.rstrip().rpartition("It is replayed by: kv-sim ")[2])
    assert f"--from {found[1]} --seeds 1" in " ".join(command)
    again = invoke(*command)
    assert again.exit_code == 1
    assert f"seed {found[1]} breaks L4 " in again.output
    monkeypatch.undo()
    assert invoke(*command).exit_code == 0


def test_minimize_leaves_few_faults_that_still_break_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PhaseOne, "_adopt", forget_to_adopt)
    result = invoke("check", "--seeds", "20", "--jobs", "1", "--nodes", "3", "--faults", "crash", "--minimize")
    assert result.exit_code == 1
    command = shlex.split(result.output.rstrip().rpartition("It is replayed by: kv-sim ")[2])
    kept = command[command.index("--plan") + 1]
    assert len(kept.split(",")) <= 5
    again = invoke(*command)
    assert again.exit_code == 1
    assert " breaks L4 " in again.output


def test_faults_that_hardly_fired_fail_the_run_if_asked() -> None:
    result = invoke("check", "--seeds", "1", "--jobs", "1", "--faults", "crash", "--nodes", "3", "--fired-min", "1000")
    assert result.exit_code == 1
    assert "too little: crash fired" in result.output


@given(st.sets(st.integers(1, 40), min_size=1), st.data())
def test_the_minimum_fails_and_nothing_can_be_left_out_of_it(numbers: set[int], data: st.DataObject) -> None:
    """Where a failure needs certain faults together, exactly these are left."""
    everything = sorted(numbers)
    needed = data.draw(st.sets(st.sampled_from(everything)))
    assert minimize(everything, lambda kept: needed <= set(kept)) == tuple(sorted(needed))
