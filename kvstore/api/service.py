"""What all services share: whom they admit, how long they wait, how they sign.

Every wait ends: after the client's own timeout or the server's, whichever is shorter. The server's is etcd's, five
seconds and two election timeouts.
"""

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from google.protobuf.message import Message
from kvproto.command_pb2 import Entry
from kvproto.etcd.rpc_pb2 import (
    DeleteRangeResponse,
    MemberListResponse,
    PutResponse,
    RangeRequest,
    RangeResponse,
    StatusResponse,
    TxnResponse,
)

from kvstore.api.context import Context
from kvstore.api.errors import NoLeader, TimedOut
from kvstore.api.port import ReplicaPort

__all__ = ["REQUEST_TIMEOUT_S", "Service"]

REQUEST_TIMEOUT_S: Final = 7.0
_ANSWER_SHARE: Final = 0.95
"""Of the client's time: the rest is for the way back."""

T = TypeVar("T")

ResponseT = TypeVar(
    "ResponseT", RangeResponse, PutResponse, DeleteRangeResponse, TxnResponse, StatusResponse, MemberListResponse
)


class Service:
    """Base of what clients see."""

    def __init__(self, port: ReplicaPort, *, request_timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self._port = port
        self._request_timeout_s = request_timeout_s

    def _admit(self, context: Context) -> None:
        """Before anything else, so that a client which asked for it learns of a missing leader whatever it sent."""
        if context.requires_leader and self._port.status().leader is None:
            raise NoLeader

    async def _write(self, entry: Entry, context: Context) -> Message:
        return await self._in_time(self._port.write(entry), context)

    async def _linearizable(self, context: Context) -> None:
        await self._in_time(self._port.linearizable(), context)

    async def _in_time(self, waiting: Awaitable[T], context: Context) -> T:
        """Raises TimedOut a little before the client gives up, so that it still hears why."""
        timeout_s = min(context.timeout_s * _ANSWER_SHARE, self._request_timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                return await waiting
        except TimeoutError:
            raise TimedOut from None

    async def _read(self, request: RangeRequest) -> RangeResponse:
        """What the state has now, read a page at a time: a long range holds up nobody. Raises Refused."""
        store = self._port.store
        scan = store.begin_range(request)
        while not store.advance(scan):  # noqa: ASYNC110  it waits for nobody, it lets others work
            await asyncio.sleep(0)
        return scan.response

    def _signed(self, response: ResponseT) -> ResponseT:
        """Fills the top-level header; its revision is there already. Nested ones have nothing but a revision."""
        header = response.header
        header.cluster_id, header.member_id, header.raft_term = self._port.header_fields()
        return response
