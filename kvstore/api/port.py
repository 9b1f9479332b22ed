"""What the handlers need of the replica behind them.

The node implements it in the server, a single in-memory replica in the tests. All of it is used on the event loop that
owns the store, between turns: what ``store`` answers is what was applied and committed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from google.protobuf.message import Message
from kvproto.command_pb2 import Entry
from kvproto.session_pb2 import Leader

from kvstore.mvcc import Result, Store

__all__ = ["ConfiguredMember", "HeaderFields", "NodeStatus", "ReplicaPort", "SessionSink"]

SessionSink = Callable[[Sequence[tuple[int, Result]]], None]
"""Gets the answers to a session's requests, those of a turn at once, as (sequence, result). Must not raise or wait."""


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

    async def open_session(self) -> int:
        """A new exactly-once session. Raises ApiError; waits without a limit otherwise."""
        ...

    def attach(self, session: int, sink: SessionSink) -> None:
        """``sink`` gets the answers to what is submitted in this session, and replaces one that did so before."""
        ...

    def detach(self, session: int, sink: SessionSink) -> None:
        """No answers come any more, unless another sink has taken the place of this one."""
        ...

    async def submit(self, session: int, entries: Sequence[Entry]) -> None:
        """Requests of an attached session. Waits while the replica has too much to do."""
        ...

    def forget(self, session: int, sequence: int) -> bool:
        """Nobody waits for this request any more. True where it certainly was not proposed here, and never will be."""
        ...

    def leader(self) -> Leader:
        """Who leads, as far as this node knows, and where its clients connect, as far as that was published."""
        ...

    def watch_leadership(self, changed: Callable[[], None]) -> Callable[[], None]:
        """``changed`` is called whenever ``leader`` may have changed, until the returned function is."""
        ...

    def header_fields(self) -> HeaderFields:
        """Called for every response."""
        ...

    def status(self) -> NodeStatus: ...

    def configuration(self) -> Sequence[ConfiguredMember]:
        """The members of the newest configuration that was decided, by node id."""
        ...
