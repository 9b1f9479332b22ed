"""What all services share: whom they admit, how long they wait, how they sign.

Every wait ends: after the client's own timeout or the server's, whichever is shorter. The server's is etcd's, five
seconds and two election timeouts.
"""

import asyncio
from typing import TypeVar

from google.protobuf.message import Message
from kvproto.command_pb2 import Entry
from kvproto.etcd.rpc_pb2 import (
    DeleteRangeResponse,
    MemberListResponse,
    PutResponse,
    RangeResponse,
    StatusResponse,
    TxnResponse,
)

from kvstore.api.context import Context
from kvstore.api.errors import NoLeader, TimedOut
from kvstore.api.port import ReplicaPort

__all__ = ["REQUEST_TIMEOUT_S", "Service"]

REQUEST_TIMEOUT_S = 7.0

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
        try:
            async with asyncio.timeout(min(context.timeout_s, self._request_timeout_s)):
                return await self._port.write(entry)
        except TimeoutError:
            raise TimedOut from None

    async def _linearizable(self, context: Context) -> None:
        try:
            async with asyncio.timeout(min(context.timeout_s, self._request_timeout_s)):
                await self._port.linearizable()
        except TimeoutError:
            raise TimedOut from None

    def _signed(self, response: ResponseT) -> ResponseT:
        """Fills the top-level header; its revision is there already. Nested ones have nothing but a revision."""
        header = response.header
        header.cluster_id, header.member_id, header.raft_term = self._port.header_fields()
        return response
