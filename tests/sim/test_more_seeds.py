"""More runs from seeds, beyond those of ``test_seeds``: every law holds in every one of them."""

import pytest

from kvstore.testing.sim import Simulation

_SEEDS = range(101, 301)
_BLOCK = 10


@pytest.mark.parametrize("first", _SEEDS[::_BLOCK])
def test_seeds_keep_every_law(first: int) -> None:
    """A broken one raises."""
    for seed in range(first, first + _BLOCK):
        assert Simulation(seed).run().checked["liveness"] == 1
