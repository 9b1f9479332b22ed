"""Random faults, judged at each step; then a calm, in which the cluster must recover. A seed replays a run exactly."""

import pytest

from .chaos import Chaos


def run(seed: int, *, steps: int, **kind: int) -> Chaos:
    chaos = Chaos(seed, **kind)  # type: ignore[arg-type]
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


@pytest.mark.parametrize("seed", range(200, 230))
def test_so_while_leaders_read_by_leases_and_clocks_drift(seed: int) -> None:
    """No read is stale: it sees whatever was decided anywhere before it began (L7, L14)."""
    run(seed, steps=2000, leases=True, nodes=3 + seed % 3)


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


@pytest.mark.long
@pytest.mark.parametrize("block", range(5))
def test_many_seeds_with_leases(block: int) -> None:
    for seed in range(10_000 + 300 * block, 10_300 + 300 * block):
        run(seed, steps=3000, leases=True, nodes=3 + seed % 3)
