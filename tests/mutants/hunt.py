"""The search for a seed whose run shows that the code is wrong."""

from collections.abc import Iterable
from dataclasses import dataclass

from kvstore.testing.sim import LawBroken, Simulation
from tests.mutants.mutant import Mutant

__all__ = ["SEEDS_MAX", "Catch", "hunt"]

SEEDS_MAX = 200
"""A mutant that survives so many is a hole in the checks."""

_STEPS_MAX = 200_000
"""Some ten times what a run takes: a mistake may also keep it from ending."""


@dataclass(frozen=True, slots=True)
class Catch:
    """The seed that caught a mutant and the law that it broke there; ``text`` says how."""

    seed: int
    law: str
    text: str


def hunt(mutant: Mutant, seeds: Iterable[int]) -> Catch | None:
    """Runs one seed after the other with the mutant planted; None where it survives them all."""
    with mutant.planted():
        for seed in seeds:
            caught = _run(seed)
            if caught is not None:
                return caught
    return None


def _run(seed: int) -> Catch | None:
    simulation = Simulation(seed)
    try:
        for _ in range(_STEPS_MAX):
            if not simulation.step():
                return None
    except LawBroken as broken:
        return Catch(seed, broken.law, str(broken))
    return Catch(seed, "liveness", f"no end after {_STEPS_MAX} steps")
