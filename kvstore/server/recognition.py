"""Whether the others know this node: asked once, when it comes back to a cluster that has formed.

A data directory of another cluster whose nodes have the same numbers and addresses looks right from inside. Its peers
refuse its links, and it would wait for ever for somebody to talk to. So it asks each who it is. One that answers for
another cluster may itself be the stranger; where so many do that no quorum is left, this node is the one.

It asks until all have answered, and decides nothing else: whose links are heard is the handshake's business.
"""

import asyncio
import logging
from collections.abc import Mapping
from random import Random
from typing import Final

import grpc
import grpc.aio
from kvproto import paxos_pb2 as pb

from kvstore.paxos.types import NodeId
from kvstore.storage.port import Identity
from kvstore.transport.handshake import PROTOCOL_VERSION
from kvstore.transport.wire import CHANNEL_OPTIONS, HELLO_METHOD

__all__ = ["disowned"]

logger = logging.getLogger(__name__)

_PAUSE_FIRST_S: Final = 0.25
_PAUSE_MAX_S: Final = 4.0
_ANSWER_TIMEOUT_S: Final = 1.0


async def disowned(identity: Identity, peers: Mapping[NodeId, str], *, rng: Random) -> str | None:
    """Why this node can never have a quorum, in one sentence with both values; None once that is excluded.

    ``peers``: every member with its address, this node too.
    """
    others = {node_id: address for node_id, address in peers.items() if node_id != identity.node_id}
    reasons: dict[NodeId, str] = {}
    strangers_max = len(peers) - (len(peers) // 2 + 1)
    asking = {asyncio.ensure_future(_ask(identity, node, address, rng)): node for node, address in others.items()}
    try:
        for answer in asyncio.as_completed(asking):
            node_id, reason = await answer
            if reason is None:
                continue
            logger.warning("%s", reason)
            reasons[node_id] = reason
            if len(reasons) > strangers_max:
                return f"{reason}; start it with its own cluster's --peers, or with its own data directory"
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return None


async def _ask(identity: Identity, node_id: NodeId, address: str, rng: Random) -> tuple[NodeId, str | None]:
    request = pb.HelloRequest(protocol_version=PROTOCOL_VERSION, node_id=identity.node_id, birth_id=identity.birth_id)
    pause_s = _PAUSE_FIRST_S
    while True:
        async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
            hello = channel.unary_unary(HELLO_METHOD, pb.HelloRequest.SerializeToString, pb.HelloReply.FromString)
            try:
                reply = await hello(request, timeout=_ANSWER_TIMEOUT_S)
            except grpc.aio.AioRpcError:
                reply = None
        if reply is not None and reply.cluster_id:
            return node_id, _judge(identity, node_id, address, reply)
        await asyncio.sleep(pause_s * (0.5 + rng.random() / 2))
        pause_s = min(2 * pause_s, _PAUSE_MAX_S)


def _judge(identity: Identity, node_id: NodeId, address: str, reply: pb.HelloReply) -> str | None:
    assert identity.cluster_id is not None, "only a node of a formed cluster asks"
    if reply.cluster_id != identity.cluster_id:
        return (
            f"data directory of another cluster: node {identity.node_id} belongs to cluster "
            f"{identity.cluster_id.hex()}, node {node_id} at {address} to cluster {reply.cluster_id.hex()}"
        )
    return reply.refusal or None
