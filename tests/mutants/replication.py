"""Mistakes above consensus: applying, sessions, forwarded writes, reads, the data model."""

from typing import Final

from tests.mutants.mutant import Mutant

__all__ = ["REPLICATION"]

REPLICATION: Final[tuple[Mutant, ...]] = ()
