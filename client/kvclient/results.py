"""What the calls return: plain frozen values, so that no protobuf message reaches the caller.

Keys and values are bytes, as they are stored. Revisions and versions are etcd's: a revision counts the write
transactions of the whole store, a version the puts of one key since its creation.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from kvclient.errors import KvError

__all__ = [
    "DeleteResult",
    "EndpointStatus",
    "KeyValue",
    "Member",
    "OperationResult",
    "PutResult",
    "RangeResult",
    "TxnResult",
]


@dataclass(frozen=True, slots=True)
class KeyValue:
    """One key as of one revision. ``lease`` is 0 where none is attached."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int


@dataclass(frozen=True, slots=True)
class PutResult:
    """``revision`` is the one that the put made."""

    revision: int


@dataclass(frozen=True, slots=True)
class RangeResult:
    """One page. ``count`` is the number of keys in the whole range; ``more`` says that ``limit`` cut some off.

    ``revision`` is the store's when it was read: pass it on to read further pages of the same state.
    """

    kvs: tuple[KeyValue, ...]
    count: int
    more: bool
    revision: int

    def __iter__(self) -> Iterator[KeyValue]:
        return iter(self.kvs)


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """How many keys were deleted, and the store's revision after it."""

    deleted: int
    revision: int


OperationResult = PutResult | RangeResult | DeleteResult


@dataclass(frozen=True, slots=True)
class TxnResult:
    """``succeeded``: all comparisons held. ``results`` are those of the branch that ran, in its order."""

    succeeded: bool
    results: tuple[OperationResult, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the cluster, and where its peers and its clients find it."""

    member_id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """What one endpoint says about itself; or ``error``, and zeros, where it did not answer.

    ``leader`` is the leader's member id, 0 where it knows none. ``ballot_round``, ``decided`` and ``applied`` travel as
    etcd's raftTerm, raftIndex and raftAppliedIndex.
    """

    endpoint: str
    error: KvError | None = None
    member_id: int = 0
    leader: int = 0
    ballot_round: int = 0
    decided: int = 0
    applied: int = 0
    size_bytes: int = 0
    version: str = ""
    is_learner: bool = False
    revision: int = 0
