"""The bounds that the state machine enforces (L13).

They decide what a command does, so every replica must have the same ones: a state remembers those under which it was
made, and refuses to be opened under others (``schema``).
"""

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Part of the replicated behaviour: never a per-node setting."""

    txn_operations_max: int = 128
    """Per branch; nested transactions share what their parent leaves over, as in etcd."""

    txn_depth_max: int = 16
    """Protobuf refuses to parse beyond 100 levels. A request that parses at the API, but no longer inside a
    CommandBatch, would stop every replica for ever: so nesting ends far below."""

    sessions_max: int = 10_000
    """At it, opening a session drops the one that was unused for the longest time."""

    answers_per_session_max: int = 4096
    """A client may have this many requests in flight in one session."""

    answer_bytes_per_session_max: int = 4 * 1024 * 1024
    """Keys and values in the kept answers; the answer to the highest sequence is kept whatever its size."""

    def __post_init__(self) -> None:
        assert self.txn_operations_max >= 1, f"at least one operation per branch: {self.txn_operations_max}"
        assert 1 <= self.txn_depth_max <= 24, f"four protobuf levels per transaction, 100 in all: {self.txn_depth_max}"
        assert self.sessions_max >= 1, f"at least one session: {self.sessions_max}"
        assert self.answers_per_session_max >= 1, f"at least one answer: {self.answers_per_session_max}"
        assert self.answer_bytes_per_session_max >= 0, f"not negative: {self.answer_bytes_per_session_max}"
