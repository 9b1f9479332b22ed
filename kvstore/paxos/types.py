"""The nouns of Multi-Paxos, named as the papers name them.

Watermarks are half open: ``decided_end`` is the first slot that is not known to be decided.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NewType

__all__ = [
    "ZERO_BALLOT",
    "Application",
    "Ballot",
    "Configuration",
    "NodeId",
    "Noop",
    "ProposalId",
    "ReadId",
    "Slot",
    "Value",
    "WriteId",
]

NodeId = NewType("NodeId", int)
"""A node's number, from 1. 0 is nobody: it appears only in ``ZERO_BALLOT``."""

Slot = NewType("Slot", int)
"""A position in the log, from 0."""

WriteId = NewType("WriteId", int)
"""Numbers the writes of one process in the order in which they must reach the disk, from 1."""

ProposalId = NewType("ProposalId", int)
ReadId = NewType("ReadId", int)


class Ballot(NamedTuple):
    """A proposal number, ordered as Lamport orders it: by round, then by node ("Paxos Made Simple", §2.2)."""

    round: int
    node_id: NodeId

    def __str__(self) -> str:
        return f"{self.round}.{self.node_id}"


ZERO_BALLOT = Ballot(0, NodeId(0))
"""Below every ballot that a node can propose in."""


@dataclass(frozen=True, slots=True)
class Noop:
    """Fills a slot in which a new leader found nothing ("Paxos Made Simple", §3)."""


@dataclass(frozen=True, slots=True)
class Application:
    """Bytes for the state machine. Callers make them unique, so that equal bytes mean the same proposal."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Configuration:
    """Who votes. Decided in slot s, it governs the slots from s + α on.

    ``addresses`` maps each member to ``host:port`` of its peer port. ``lease_ms`` > 0: a leader may answer reads by a
    lease of that length (``kvstore.paxos.lease``).
    """

    epoch: int
    voters: tuple[NodeId, ...]
    learners: tuple[NodeId, ...] = ()
    addresses: Mapping[NodeId, str] = field(default_factory=dict)
    lease_ms: int = 0

    def __post_init__(self) -> None:
        assert self.voters, "a configuration has at least one voter"
        assert self.voters == tuple(sorted(set(self.voters))), f"voters are sorted and distinct: {self.voters}"
        assert not set(self.voters) & set(self.learners), "nobody is voter and learner at once"

    @property
    def members(self) -> tuple[NodeId, ...]:
        """Voters and learners, in a fixed order (L8: never iterate a set)."""
        return self.voters + self.learners

    @property
    def quorum_size(self) -> int:
        """Any two quorums share a voter."""
        return len(self.voters) // 2 + 1


Value = Noop | Application | Configuration
