"""What a caller may have to handle. Everything impossible is an assertion instead."""

from kvstore.paxos.types import NodeId

__all__ = ["NotLeader", "PaxosError", "WindowFull"]


class PaxosError(Exception):
    """Base of the errors that the core raises to its caller; nothing was changed."""


class NotLeader(PaxosError):
    """Only a leader proposes and confirms. ``hint`` is whom this node believes to lead, if anyone."""

    def __init__(self, hint: NodeId | None) -> None:
        super().__init__(f"not the leader; node {hint} may be" if hint else "not the leader; no leader is known")
        self.hint = hint


class WindowFull(PaxosError):
    """As many slots are in flight as may be: propose again once one is decided."""
