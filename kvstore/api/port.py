"""What the handlers need of the replica behind them.

The node implements it in the server, a single in-memory replica in the tests. All of it is used on the event loop that
owns the store, between turns: what ``store`` answers is what was applied and committed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from google.protobuf.message import Message
from kvproto.command_pb2 import Entry

from kvstore.mvcc import Store

__all__ = ["ConfiguredMember", "HeaderFields", "NodeStatus", "ReplicaPort"]


class HeaderFields(NamedTuple):
    """The node's share of a response header; the state machine fills in the revision."""

    cluster_id: int
    member_id: int
    raft_term: int
    """The round of the durably promised ballot: it never falls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """``leader`` is None while none is known; the store tells the rest."""

    leader: int | None
    decided_end: int
    is_learner: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredMember:
    """``peer_address`` is ``host:port``."""

    node_id: int
    peer_address: str
    is_learner: bool = False


class ReplicaPort(Protocol):
    @property
    def store(self) -> Store:
        """The local replica's state."""
        ...

    async def write(self, entry: Entry) -> Message:
        """The reply, once the entry was applied here: PutResponse, DeleteRangeResponse or TxnResponse.

        The reply is the caller's to change. Raises ApiError, for what the state machine refused as well; waits without
        a limit otherwise. Cancelled, it gives up waiting: the fate of the entry is then unknown.
        """
        ...

    async def linearizable(self) -> None:
        """Returns once ``store`` may answer a linearizable read that began with this call (L7). Raises ApiError."""
        ...

    def header_fields(self) -> HeaderFields:
        """Called for every response."""
        ...

    def status(self) -> NodeStatus: ...

    def configuration(self) -> Sequence[ConfiguredMember]:
        """The members of the newest configuration that was decided, by node id."""
        ...
