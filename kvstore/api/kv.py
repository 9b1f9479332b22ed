"""Keys and values: what needs no state is checked first, then writes are proposed and reads are read.

A request that could not succeed costs no slot. Reads never cost one: they wait until the local state may answer (L7),
or do not wait at all if they are serializable. That goes for transactions too, as long as no branch of theirs could
write. The store is read in the same breath as the wait ends, so nothing can come between.
"""

from kvproto.command_pb2 import Entry
from kvproto.etcd.rpc_pb2 import (
    DeleteRangeRequest,
    DeleteRangeResponse,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    RequestOp,
    TxnRequest,
    TxnResponse,
)

from kvstore.api.context import Context
from kvstore.api.errors import ApiError
from kvstore.api.service import Service
from kvstore.mvcc import txn_is_readonly
from kvstore.mvcc.errors import Refused
from kvstore.mvcc.validate import check_delete_range, check_put, check_range, check_size, check_txn

__all__ = ["Kv"]


class Kv(Service):
    """``etcdserverpb.KV``. Handlers raise ApiError."""

    async def range(self, request: RangeRequest, context: Context) -> RangeResponse:
        self._admit(context)
        try:
            check_range(request)
            if not request.serializable:
                await self._linearizable(context)
            response = await self._read(request)
        except Refused as refused:
            raise ApiError.of(refused) from None
        return self._signed(response)

    async def put(self, request: PutRequest, context: Context) -> PutResponse:
        self._admit(context)
        try:
            check_put(request)
            check_size(request)
        except Refused as refused:
            raise ApiError.of(refused) from None
        response = await self._write(Entry(put=request), context)
        assert isinstance(response, PutResponse), f"a put was answered with {type(response).__name__}"
        return self._signed(response)

    async def delete_range(self, request: DeleteRangeRequest, context: Context) -> DeleteRangeResponse:
        self._admit(context)
        try:
            check_delete_range(request)
            check_size(request)
        except Refused as refused:
            raise ApiError.of(refused) from None
        response = await self._write(Entry(delete_range=request), context)
        assert isinstance(response, DeleteRangeResponse), f"a delete was answered with {type(response).__name__}"
        return self._signed(response)

    async def txn(self, request: TxnRequest, context: Context) -> TxnResponse:
        self._admit(context)
        try:
            check_txn(request, self._port.store.limits)
            if txn_is_readonly(request):
                if not _is_serializable(request):
                    await self._linearizable(context)
                return self._signed(self._port.store.read_txn(request))
            check_size(request)
        except Refused as refused:
            raise ApiError.of(refused) from None
        response = await self._write(Entry(txn=request), context)
        assert isinstance(response, TxnResponse), f"a transaction was answered with {type(response).__name__}"
        return self._signed(response)


def _is_serializable(request: TxnRequest) -> bool:
    """Whether a read-only transaction may read a state that is not the newest: all of its ranges say so.

    One without any range only compares. etcd answers that from whatever state it has; nobody said that it may.
    """
    ranges = list(_ranges(request))
    return bool(ranges) and all(one.serializable for one in ranges)


def _ranges(request: TxnRequest) -> list[RangeRequest]:
    """Those of nested transactions included; ``validate`` bounds the depth."""
    found: list[RangeRequest] = []
    for branch in (request.success, request.failure):
        for operation in branch:
            found += _ranges_of(operation)
    return found


def _ranges_of(operation: RequestOp) -> list[RangeRequest]:
    if operation.WhichOneof("request") == "request_txn":
        return _ranges(operation.request_txn)
    return [operation.request_range]
