"""Mistakes in Multi-Paxos itself: promises, votes, quorums, adoption, decisions, configurations, elections, leases."""

from typing import Final

from kvstore.paxos.acceptor import Acceptor
from kvstore.paxos.follower import Follower
from kvstore.paxos.phase_one import PhaseOne
from tests.mutants.mutant import Edit, Mutant

__all__ = ["CONSENSUS"]

CONSENSUS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "accepts below its promise",
        Edit(Acceptor.accept, "if ballot < self.promised:", "if False:"),
        Edit(Follower.on_accept, "if message.ballot < self._acceptor.promised:", "if False:"),
    ),
    Mutant(
        "forgets to adopt what a promise reports",
        Edit(PhaseOne.receive, "for entry in partial.entries:", "for entry in ():"),
    ),
    Mutant(
        "adopts the value of the lowest ballot",
        Edit(PhaseOne._adopt, "entry.ballot > best.ballot", "entry.ballot < best.ballot"),
    ),
)
