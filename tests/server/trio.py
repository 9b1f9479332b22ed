"""Three nodes in one event loop: everything is real but the network, which loses nothing, and the disks."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

from kvstore.mvcc import Store
from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.core import Paxos
from kvstore.paxos.durable import DurableState, GoverningConfiguration
from kvstore.paxos.messages import Message
from kvstore.paxos.types import Configuration, NodeId, Slot
from kvstore.replica.messages import ReplicaMessage
from kvstore.replica.replica import Replica, ReplicaConfig
from kvstore.server.node import Node
from kvstore.storage.memory_log import MemoryAcceptorLog, MemoryDisk

__all__ = ["Trio", "trio"]


@dataclass
class Trio:
    nodes: dict[NodeId, Node]
    stores: dict[NodeId, Store]
    disks: dict[NodeId, MemoryDisk]
    running: dict[NodeId, "asyncio.Task[None]"] = field(default_factory=dict)
    on_message: Callable[[NodeId, NodeId, Message | ReplicaMessage], None] = lambda _from, _to, _message: None
    """Called after each delivery."""
    cut: bool = False
    """Nothing is delivered any more."""

    @property
    def leader(self) -> NodeId | None:
        return next((node_id for node_id, node in self.nodes.items() if node.leads), None)

    @property
    def followers(self) -> list[NodeId]:
        return [node_id for node_id in self.nodes if node_id != self.leader]

    def deliver(self, sender: NodeId, to: NodeId, message: Message | ReplicaMessage) -> None:
        if not self.cut:
            self.nodes[to].receive(sender, [message])
            self.on_message(sender, to, message)


@dataclass(frozen=True)
class _Links:
    trio: Trio
    sender: NodeId

    def send(self, to: NodeId, message: Message | ReplicaMessage) -> None:
        asyncio.get_running_loop().call_soon(self.trio.deliver, self.sender, to, message)


@asynccontextmanager
async def trio(*, size: int = 3, links_up: bool = True) -> AsyncIterator[Trio]:
    """Runs them until the block ends. With ``links_up`` they can reach each other from the start."""
    ids = tuple(map(NodeId, range(1, size + 1)))
    made = Trio(nodes={}, stores={}, disks={})
    configuration = Configuration(epoch=1, voters=ids, addresses={i: f"node-{i}:1" for i in ids})
    connections = []
    for node_id in ids:
        connections.append(sqlite3.connect(":memory:"))
        store = Store(connections[-1])
        disk = MemoryDisk()
        log = MemoryAcceptorLog.open(disk, node_id=node_id, rng=Random(node_id))
        recovered = log.recover(from_slot=Slot(0))
        durable = DurableState(
            configurations=(GoverningConfiguration(Slot(0), configuration),),
            promised=recovered.promised,
            accepted=recovered.accepted,
            first_slot=recovered.first_slot,
            decided_end=Slot(0),
        )
        timing = PaxosConfig(node_id=node_id, heartbeat_s=0.02, election_timeout_s=0.2)
        replica = Replica(
            ReplicaConfig(node_id=node_id, incarnation=1, retry_s=0.06),
            Paxos(timing, durable, rng=Random(node_id), now=time.monotonic()),
            store,
            encode_configurations=lambda governing: [(one.from_slot, b"") for one in governing],
        )
        made.nodes[node_id] = Node(replica, log, _Links(made, node_id), clock=time.monotonic)
        made.stores[node_id] = store
        made.disks[node_id] = disk
    if links_up:
        for node_id in ids:
            for peer in ids:
                if peer != node_id:
                    made.nodes[node_id].link_up(peer)
    made.running = {i: asyncio.ensure_future(node.run()) for i, node in made.nodes.items()}
    try:
        yield made
    finally:
        for node in made.nodes.values():
            node.stop()
        await asyncio.gather(*made.running.values(), return_exceptions=True)
        for connection in connections:
            connection.close()
