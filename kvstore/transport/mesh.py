"""All links of one node: two lanes out to every peer, one listener for what they dial in.

The rooms inside say ``send(to, message)`` and get ``on_messages``, ``on_up`` and ``on_lost``; lanes, handshakes, queues
and dialing stay in here. A message for several peers is encoded once. Catch-up and forwarded writes take the bulk lane,
so that they never delay what keeps a leader alive.

Before the cluster has formed nobody may open a stream: the listener only answers ``Hello``.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from random import Random
from typing import Final, TypeAlias

from kvproto import paxos_pb2 as pb

from kvstore.paxos.messages import CatchUp, Decided, SnapshotOffer
from kvstore.paxos.types import NodeId
from kvstore.replica.messages import Forward, ForwardReply
from kvstore.transport.codec import PeerMessage, encode
from kvstore.transport.handshake import Expectation, Handshake, Lane, refusal
from kvstore.transport.link import LinkStats, PeerLink
from kvstore.transport.listener import PeerListener
from kvstore.transport.outbound import OutboundQueue

__all__ = ["Mesh", "PeerMemory", "Permits", "permits_all"]

logger = logging.getLogger(__name__)

_BULK: Final = (Forward, ForwardReply, CatchUp, Decided, SnapshotOffer)
_QUEUE_MESSAGES_MAX: Final = 8192
_QUEUE_BYTES_MAX: Final = 64 << 20

Permits: TypeAlias = Callable[[NodeId, NodeId], bool]
"""Whether a message of the first node may reach the second now."""


def permits_all(_sender: NodeId, _receiver: NodeId) -> bool:
    return True


class PeerMemory:
    """What this node remembers of each peer: the highest incarnation and log sequence that it has shown (L11).

    ``stored_sequence`` and ``store_sequence`` reach the disk; incarnations are remembered while the process runs.
    """

    def __init__(
        self, *, stored_sequence: Callable[[NodeId], int], store_sequence: Callable[[NodeId, int], None]
    ) -> None:
        self._stored_sequence = stored_sequence
        self._store_sequence = store_sequence
        self._incarnations: dict[NodeId, int] = {}

    def incarnation(self, node_id: NodeId) -> int:
        return self._incarnations.get(node_id, 0)

    def log_sequence(self, node_id: NodeId) -> int:
        return self._stored_sequence(node_id)

    def remember(self, handshake: Handshake) -> None:
        node_id = handshake.node_id
        self._incarnations[node_id] = max(self.incarnation(node_id), handshake.incarnation)
        self._store_sequence(node_id, handshake.log_sequence)


class Mesh:
    """``introduce`` makes this node's handshake for a lane to a peer; the callbacks run in the loop, must not raise.

    ``on_up`` comes when both lanes to a peer are up, ``on_lost`` when either breaks or its own stream to us ends.
    ``permits`` is asked for every message, out and in: one that it does not permit is lost, as on a network that
    swallows packets, and the connections stay.
    """

    def __init__(
        self,
        *,
        node_id: NodeId,
        incarnation: int,
        listen: str,
        rng: Random,
        memory: PeerMemory,
        introduce: Callable[[NodeId, Lane], Handshake],
        answer_hello: Callable[[pb.HelloRequest], pb.HelloReply],
        on_messages: Callable[[NodeId, list[PeerMessage]], None],
        on_up: Callable[[NodeId], None],
        on_lost: Callable[[NodeId], None],
        permits: Permits = permits_all,
    ) -> None:
        self._me = node_id
        self._rng = rng
        self._memory = memory
        self._introduce = introduce
        self._on_messages = on_messages
        self._on_up = on_up
        self._on_lost = on_lost
        self._permits = permits
        self._cluster_id: bytes | None = None
        self._births: Mapping[NodeId, bytes] = {}
        self._links: dict[NodeId, dict[Lane, PeerLink]] = {}
        self._encoded: tuple[PeerMessage | None, bytes] = (None, b"")
        self._listener = PeerListener(
            node_id=node_id,
            incarnation=incarnation,
            address=listen,
            verify=self._verify,
            answer_hello=answer_hello,
            on_introduced=self._on_introduced,
            on_messages=self._heard,
            on_lost=on_lost,
        )

    async def listen(self) -> int:
        """Answers ``Hello`` from now on, and streams once ``join`` was called. Raises OSError."""
        return await self._listener.start()

    def join(self, *, cluster_id: bytes, births: Mapping[NodeId, bytes], addresses: Mapping[NodeId, str]) -> None:
        """The cluster has formed: dial every other node of ``addresses``, and hear those that dial us."""
        assert self._cluster_id is None, "a node joins one cluster, once"
        self._cluster_id = cluster_id
        self._births = births
        self._listener.take_streams()
        for peer, address in addresses.items():
            if peer == self._me:
                continue
            self._links[peer] = {lane: self._link(peer, address, lane) for lane in Lane}
            for link in self._links[peer].values():
                link.start()

    def send(self, to: NodeId, message: PeerMessage) -> None:
        """Never blocks; may drop. A message to a node without a link is dropped."""
        lanes = self._links.get(to)
        if lanes is None or not self._permits(self._me, to):
            return
        known, encoded = self._encoded
        if known is not message:
            encoded = encode(message)
            self._encoded = (message, encoded)
        lanes[Lane.BULK if isinstance(message, _BULK) else Lane.PROTOCOL].send(encoded)

    def stats(self) -> dict[tuple[NodeId, Lane], LinkStats]:
        return {(peer, lane): link.stats() for peer, lanes in self._links.items() for lane, link in lanes.items()}

    async def close(self, grace_s: float) -> None:
        """What is queued may still leave within ``grace_s``."""
        links = [link.close(grace_s) for lanes in self._links.values() for link in lanes.values()]
        await asyncio.gather(*links)
        await self._listener.close(grace_s)

    def _link(self, peer: NodeId, address: str, lane: Lane) -> PeerLink:
        return PeerLink(
            peer=peer,
            address=address,
            lane=lane,
            introduce=lambda: self._introduce(peer, lane),
            queue=OutboundQueue(lane, messages_max=_QUEUE_MESSAGES_MAX, bytes_max=_QUEUE_BYTES_MAX),
            rng=self._rng,
            on_up=self._link_up,
            on_lost=self._on_lost,
            on_refused=_report_refusal,
        )

    def _heard(self, sender: NodeId, messages: list[PeerMessage]) -> None:
        if self._permits(sender, self._me):
            self._on_messages(sender, messages)

    def _link_up(self, peer: NodeId) -> None:
        if all(link.up for link in self._links[peer].values()):
            self._on_up(peer)

    def _on_introduced(self, handshake: Handshake) -> None:
        self._memory.remember(handshake)
        for link in self._links.get(handshake.node_id, {}).values():
            link.nudge()

    def _verify(self, handshake: Handshake) -> str | None:
        assert self._cluster_id is not None, "it takes no streams before"
        caller = handshake.node_id
        return refusal(
            handshake,
            Expectation(
                node_id=self._me,
                cluster_id=self._cluster_id,
                members=tuple(sorted(self._births)),
                births=self._births,
                incarnation_seen=self._memory.incarnation(caller),
                log_sequence_seen=self._memory.log_sequence(caller),
            ),
        )


def _report_refusal(peer: NodeId, reason: str) -> None:
    logger.warning("node %s refuses this node: %s", peer, reason)
