"""All mutants, and by which seed each was caught when they were last hunted from the first seed on."""

import json
from pathlib import Path
from typing import Final

from tests.mutants.consensus import CONSENSUS
from tests.mutants.durability import DURABILITY
from tests.mutants.hunt import Catch, hunt
from tests.mutants.leases import LEASES
from tests.mutants.mutant import Mutant
from tests.mutants.replication import REPLICATION

__all__ = ["FIRST_SEED", "MUTANTS", "hunt_from_first", "recorded", "write"]

FIRST_SEED: Final = 1

MUTANTS: Final[tuple[Mutant, ...]] = CONSENSUS + DURABILITY + REPLICATION + LEASES

_CAUGHT: Final = Path(__file__).with_name("caught.json")


def hunt_from_first(job: tuple[int, int]) -> Catch | None:
    """``job``: a mutant by its number, as it travels between processes, and after how many seeds to give up."""
    number, seeds = job
    return hunt(MUTANTS[number], range(FIRST_SEED, FIRST_SEED + seeds))


def recorded() -> dict[str, tuple[int, str]]:
    """The seed and the law, by what the mutant is about."""
    return {about: (entry["seed"], entry["law"]) for about, entry in json.loads(_CAUGHT.read_text()).items()}


def write(catches: dict[str, Catch]) -> None:
    """In the order of the catalogue."""
    entries = {
        mutant.about: {"seed": catches[mutant.about].seed, "law": catches[mutant.about].law}
        for mutant in MUTANTS
        if mutant.about in catches
    }
    _CAUGHT.write_text(json.dumps(entries, indent=2) + "\n")
