"""The replica as the API sees it: one node's answers in the API's words, its troubles as etcd's errors."""

from collections.abc import Callable, Sequence

from google.protobuf.message import Message
from kvproto.command_pb2 import Entry
from kvproto.session_pb2 import Leader

from kvstore.api import ApiError, ConfiguredMember, HeaderFields, NodeStatus, NoLeader, SessionSink, TooManyRequests
from kvstore.mvcc import Refusal, Store
from kvstore.mvcc.errors import Code
from kvstore.replica.steps import Undone
from kvstore.replica.writes import Overloaded
from kvstore.server.node import Node, WriteUndone

__all__ = ["NodePort", "NotProposed", "PossiblyLost"]


class NotProposed(ApiError):
    """Nobody proposed the write, and nobody will: it may be sent again."""

    def __init__(self) -> None:
        super().__init__(Code.UNAVAILABLE, "etcdserver: not proposed: the leader could not be reached in time")


class PossiblyLost(ApiError):
    """The leader that had the write lost its leadership. The fate of the write is unknown."""

    def __init__(self) -> None:
        super().__init__(Code.UNAVAILABLE, "etcdserver: request timed out, possibly due to previous leader failure")


class NodePort:
    """A ``ReplicaPort``."""

    def __init__(self, node: Node, store: Store, *, cluster_id: bytes) -> None:
        self._node = node
        self._store = store
        self._cluster_id = int.from_bytes(cluster_id, "big")

    @property
    def store(self) -> Store:
        return self._store

    async def write(self, entry: Entry) -> Message:
        try:
            result = await self._node.write(entry)
        except Overloaded:
            raise TooManyRequests from None
        except WriteUndone as undone:
            raise self._error(undone.why) from None
        if isinstance(result, Refusal):
            raise ApiError(result.code, result.text)
        assert isinstance(result, Message), f"clients send no entries that are answered with {result}"
        return result

    async def linearizable(self) -> None:
        try:
            await self._node.linearizable()
        except Overloaded:
            raise TooManyRequests from None

    async def open_session(self) -> int:
        return await self._node.open_session()

    def attach(self, session: int, sink: SessionSink) -> None:
        self._node.attach(session, sink)

    def detach(self, session: int, sink: SessionSink) -> None:
        self._node.detach(session, sink)

    async def submit(self, session: int, entries: Sequence[Entry]) -> None:
        while True:
            try:
                self._node.submit(session, entries)
            except Overloaded:
                await self._node.room()
            else:
                return

    def forget(self, session: int, sequence: int) -> bool:
        return self._node.forget(session, sequence)

    def leader(self) -> Leader:
        status = self._node.status()
        leader = Leader(node_id=status.leader or 0, is_this_node=status.leader == status.node_id)
        for member in self._store.members():
            if member.node_id == status.leader:
                leader.client_urls.extend(member.client_urls)
        return leader

    def watch_leadership(self, changed: Callable[[], None]) -> Callable[[], None]:
        return self._node.watch_leadership(lambda _change: changed())

    def header_fields(self) -> HeaderFields:
        status = self._node.status()
        return HeaderFields(cluster_id=self._cluster_id, member_id=status.node_id, raft_term=status.promised.round)

    def status(self) -> NodeStatus:
        status = self._node.status()
        newest = self._node.configurations()[-1].configuration
        return NodeStatus(
            leader=status.leader, decided_end=status.decided_end, is_learner=status.node_id in newest.learners
        )

    def configuration(self) -> list[ConfiguredMember]:
        newest = self._node.configurations()[-1].configuration
        return [
            ConfiguredMember(
                node_id=member, peer_address=newest.addresses[member], is_learner=member in newest.learners
            )
            for member in sorted(newest.members)
        ]

    def _error(self, why: Undone) -> ApiError:
        if why is Undone.UNKNOWN:
            return PossiblyLost()
        return NoLeader() if self._node.status().leader is None else NotProposed()
