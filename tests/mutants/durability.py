"""Mistakes between a decision and the disk: what leaves too early, what a restart does not find again."""

from typing import Final

from tests.mutants.mutant import Mutant

__all__ = ["DURABILITY"]

DURABILITY: Final[tuple[Mutant, ...]] = ()
