"""Drives a ``Formation``: asks every other node until the outcome is known. All decisions are in there, none here."""

import asyncio
import logging
from random import Random
from typing import Final

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from kvproto import paxos_pb2 as pb

from kvstore.paxos.types import NodeId
from kvstore.transport.formation import Formation, FormationRefused, Formed
from kvstore.transport.wire import CHANNEL_OPTIONS, HELLO_METHOD

__all__ = ["form"]

logger = logging.getLogger(__name__)

_ASK_EVERY_S: Final = 0.1
_ANSWER_TIMEOUT_S: Final = 1.0
_REPORT_EVERY_S: Final = 5.0

# A peer that comes up while we ask should be found at the next question, not when the channel thinks it is time.
_OPTIONS: Final = (
    *CHANNEL_OPTIONS,
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)


async def form(formation: Formation, *, rng: Random) -> Formed | FormationRefused:
    """Returns when the outcome is known, which needs every initial peer up. Meanwhile, others must get answers."""
    decided = asyncio.Event()
    if formation.outcome is not None:
        return formation.outcome
    loop = asyncio.get_running_loop()
    askers = [
        loop.create_task(_ask(formation, node_id, address, decided, rng))
        for node_id, address in formation.others.items()
    ]
    askers.append(loop.create_task(_report(formation)))
    deciding = loop.create_task(decided.wait())
    try:
        # An asker never ends by itself: if one does, it failed, and so must we.
        done, _ = await asyncio.wait([*askers, deciding], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (*askers, deciding):
            task.cancel()
        await asyncio.gather(*askers, deciding, return_exceptions=True)
    assert formation.outcome is not None
    return formation.outcome


async def _ask(formation: Formation, node_id: NodeId, address: str, decided: asyncio.Event, rng: Random) -> None:
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        hello = channel.unary_unary(HELLO_METHOD, pb.HelloRequest.SerializeToString, None)
        while True:
            question = formation.ask()
            try:
                reply = pb.HelloReply.FromString(await hello(question.request, timeout=_ANSWER_TIMEOUT_S))
            except grpc.aio.AioRpcError as error:
                logger.debug("node %s at %s does not answer: %s", node_id, address, error.details())
            except DecodeError as error:
                logger.warning("what answers for node %s at %s is no node: %s", node_id, address, error)
            else:
                formation.hear(node_id, question, reply)
            if formation.outcome is not None:
                decided.set()
            await asyncio.sleep(_ASK_EVERY_S * (0.5 + rng.random()))


async def _report(formation: Formation) -> None:
    while True:
        await asyncio.sleep(_REPORT_EVERY_S)
        silent = ", ".join(f"{node_id} at {formation.peers[node_id]}" for node_id in formation.waiting_for)
        logger.info("the cluster forms once all initial peers agree; waiting for node %s", silent)
