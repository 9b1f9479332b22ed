"""A run is a function of its seed: the same events, in the same words, wherever and whenever it is repeated."""

import hashlib
import os
import subprocess
import sys

import pytest

from kvstore.testing.sim import LawBroken, Simulation, SimulationConfig, narrate

_DIGEST = """
import hashlib, sys
from kvstore.testing.sim import Simulation, narrate
simulation, digest = Simulation(int(sys.argv[1])), hashlib.sha256()
simulation.trace.subscribe(lambda event: digest.update(narrate(event).encode() + b"\\n"))
simulation.run()
print(digest.hexdigest())
"""


def _text(seed: int, config: SimulationConfig | None = None) -> list[str]:
    simulation = Simulation(seed, config)
    lines: list[str] = []
    simulation.trace.subscribe(lambda event: lines.append(narrate(event)))
    simulation.run()
    return lines


@pytest.mark.parametrize("seed", [1, 2])
def test_two_processes_with_different_hash_seeds_tell_the_same_story_byte_for_byte(seed: int) -> None:
    """Neither the process nor the order of hashes enters a run."""
    here = hashlib.sha256("".join(f"{line}\n" for line in _text(seed)).encode()).hexdigest()
    for hash_seed in ("0", "4711"):
        told = subprocess.run(
            [sys.executable, "-c", _DIGEST, str(seed)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert told.stdout.strip() == here


def test_another_seed_is_another_run() -> None:
    """Chance comes from the seed."""
    assert _text(3)[:2000] != _text(4)[:2000]


def test_who_listens_does_not_disturb() -> None:
    """A run without a subscriber ends with the same report as one that is listened to."""
    listened = Simulation(5)
    listened.trace.subscribe(narrate)
    assert listened.run() == Simulation(5).run()


def test_stepping_is_running() -> None:
    """Whoever steps a run sees the one that ``run`` makes."""
    stepped = Simulation(6)
    while stepped.step():
        pass
    assert stepped.report() == Simulation(6).run()


def test_a_broken_law_names_the_seed_and_tells_the_last_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is raised is enough to replay the run and to see what led there."""
    simulation = Simulation(7)
    for _ in range(3000):
        simulation.step()
    simulation.world.consensus.chosen_end = type(simulation.world.consensus.chosen_end)(0)
    with pytest.raises(LawBroken) as caught:
        simulation.run()
    broken = caught.value
    assert (broken.law, broken.seed) == ("L5", 7)
    assert broken.events
    text = str(broken)
    assert text.startswith("seed 7 breaks L5 (")
    assert narrate(broken.events[-1]) in text
