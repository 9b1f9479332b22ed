"""A replica of one node without a log: what is written is applied at once, unless the test holds it back."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence

from google.protobuf.message import Message
from kvproto.command_pb2 import CommandBatch, Entry, OpenSession
from kvproto.session_pb2 import Leader

from kvstore.api import ApiError, ConfiguredMember, HeaderFields, NodeStatus, SessionSink
from kvstore.mvcc import Refusal, Result, SessionOpened, Store

__all__ = ["FakeReplica"]


class FakeReplica:
    """``go`` cleared: writes and linearizable reads wait, as without a quorum. ``leads`` False: no leader is known."""

    def __init__(self) -> None:
        self.store = Store(sqlite3.connect(":memory:"))
        self.go = asyncio.Event()
        self.go.set()
        self.leads = True
        self.members = [ConfiguredMember(node_id=1, peer_address="127.0.0.1:2380")]
        self.is_learner = False
        self.proposed: list[Entry] = []
        self.confirmations = 0
        self.waiting = 0
        self.someone_waits = asyncio.Event()
        self.nobody_waits = asyncio.Event()
        self.sinks: dict[int, SessionSink] = {}
        self.forgotten: list[tuple[int, int]] = []
        self.leader_urls = ["http://127.0.0.1:2379"]
        self.watchers: list[Callable[[], None]] = []

    async def write(self, entry: Entry) -> Message:
        self.proposed.append(entry)
        await self._wait()
        result = self.apply(entry)
        if isinstance(result, Refusal):
            raise ApiError(result.code, result.text)
        assert isinstance(result, Message)
        return result

    async def open_session(self) -> int:
        await self._wait()
        opened = self.apply(Entry(open_session=OpenSession()))
        assert isinstance(opened, SessionOpened)
        return opened.session

    def attach(self, session: int, sink: SessionSink) -> None:
        self.sinks[session] = sink

    def detach(self, session: int, sink: SessionSink) -> None:
        if self.sinks.get(session) == sink:
            del self.sinks[session]

    async def submit(self, session: int, entries: Sequence[Entry]) -> None:
        self.proposed += entries
        await self._wait()
        results = self.apply_all(entries)
        if session in self.sinks:
            self.sinks[session]([(e.sequence, result) for e, result in zip(entries, results, strict=True)])

    def forget(self, session: int, sequence: int) -> bool:
        self.forgotten.append((session, sequence))
        return True

    def leader(self) -> Leader:
        return Leader(node_id=1, is_this_node=True, client_urls=self.leader_urls) if self.leads else Leader()

    def watch_leadership(self, changed: Callable[[], None]) -> Callable[[], None]:
        self.watchers.append(changed)
        return lambda: self.watchers.remove(changed)

    async def linearizable(self) -> None:
        self.confirmations += 1
        await self._wait()

    def tell_leadership(self) -> None:
        """Whoever watches hears that it may have changed."""
        for changed in list(self.watchers):
            changed()

    def header_fields(self) -> HeaderFields:
        return HeaderFields(cluster_id=0xC1, member_id=1, raft_term=7)

    def status(self) -> NodeStatus:
        return NodeStatus(
            leader=1 if self.leads else None, decided_end=self.store.applied_end, is_learner=self.is_learner
        )

    def configuration(self) -> list[ConfiguredMember]:
        return self.members

    def apply(self, entry: Entry) -> Result:
        (result,) = self.apply_all([entry])
        return result

    def apply_all(self, entries: Sequence[Entry]) -> list[Result]:
        """In one slot."""
        batch = CommandBatch()
        batch.entries.extend(entries)
        self.store.begin()
        results = self.store.apply(self.store.applied_end, batch)
        self.store.commit()
        return results

    async def _wait(self) -> None:
        self.waiting += 1
        self.someone_waits.set()
        self.nobody_waits.clear()
        try:
            await self.go.wait()
        finally:
            self.waiting -= 1
            if not self.waiting:
                self.someone_waits.clear()
                self.nobody_waits.set()
