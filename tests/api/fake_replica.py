"""A replica of one node without a log: what is written is applied at once, unless the test holds it back."""

import asyncio
import sqlite3

from google.protobuf.message import Message
from kvproto.command_pb2 import CommandBatch, Entry

from kvstore.api import ApiError, ConfiguredMember, HeaderFields, NodeStatus
from kvstore.mvcc import Refusal, Store

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

    async def write(self, entry: Entry) -> Message:
        self.proposed.append(entry)
        await self._wait()
        return self.apply(entry)

    async def linearizable(self) -> None:
        self.confirmations += 1
        await self._wait()

    def header_fields(self) -> HeaderFields:
        return HeaderFields(cluster_id=0xC1, member_id=1, raft_term=7)

    def status(self) -> NodeStatus:
        return NodeStatus(
            leader=1 if self.leads else None, decided_end=self.store.applied_end, is_learner=self.is_learner
        )

    def configuration(self) -> list[ConfiguredMember]:
        return self.members

    def apply(self, entry: Entry) -> Message:
        batch = CommandBatch()
        batch.entries.append(entry)
        self.store.begin()
        (result,) = self.store.apply(self.store.applied_end, batch)
        self.store.commit()
        if isinstance(result, Refusal):
            raise ApiError(result.code, result.text)
        return result

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
