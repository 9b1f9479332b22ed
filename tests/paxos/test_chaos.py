"""Random faults, judged at each step; then a calm, in which the cluster must recover. A seed replays a run exactly."""

import pytest

from .chaos import Chaos


def run(seed: int, *, steps: int, **kind: bool) -> Chaos:
    chaos = Chaos(seed, **kind)
    for _ in range(steps):
        chaos.step()
    chaos.calm()
    return chaos


@pytest.mark.parametrize("seed", range(25))
def test_faults_break_no_law_and_their_end_brings_progress(seed: int) -> None:
    run(seed, steps=2000)


@pytest.mark.parametrize("seed", range(100, 120))
def test_so_while_voters_come_and_go(seed: int) -> None:
    """Configurations overlap in whatever way chance has it, down to none of the old voters staying."""
    run(seed, steps=2000, reconfigure=True)


def test_a_seed_replays() -> None:
    """The same choices, the same messages, the same log (L8)."""
    traces = []
    for _ in range(2):
        chaos = Chaos(7)
        chaos.world.trace = []
        for _ in range(600):
            chaos.step()
        traces.append(chaos.world.trace)
    assert traces[0] == traces[1]
    assert len(traces[0]) > 100


@pytest.mark.long
@pytest.mark.parametrize("block", range(10))
def test_many_seeds(block: int) -> None:
    for seed in range(1000 + 300 * block, 1300 + 300 * block):
        run(seed, steps=3000)
