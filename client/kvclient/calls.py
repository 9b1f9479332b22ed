"""Every call: which method, which bytes to send, what the answer's bytes mean. No I/O, no clock, no endpoint chosen.

Method paths and messages are etcd's, whether a call travels by itself or among others on a session's stream.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, assert_never

from google.protobuf.message import DecodeError, Message
from kvproto.etcd import rpc_pb2 as rpc

from kvclient.keys import Interval, Text, one, to_bytes
from kvclient.results import (
    DeleteResult,
    EndpointStatus,
    KeyValue,
    Member,
    OperationResult,
    PutResult,
    RangeResult,
    TxnResult,
)
from kvclient.transaction import Compare, Comparison, Delete, Get, Operation, Put, TransactionParts

__all__ = [
    "Call",
    "compare_and_swap",
    "delete",
    "first_key_value",
    "get",
    "members",
    "put",
    "put_result",
    "range_",
    "status",
    "transaction",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """``is_read``: to send it twice changes nothing. ``read`` turns the answer's message into the call's result.

    ``read`` raises ValueError on a message that is no answer to the request.
    """

    method: str
    request: Message
    response_class: type[Message]
    read: Callable[[Any], T]
    is_read: bool
    needs_leader: bool = True

    @property
    def payload(self) -> bytes:
        """The request as bytes."""
        return self.request.SerializeToString()

    def decode(self, payload: bytes) -> T:
        """The result in these bytes; raises ValueError on bytes that are no answer to the request."""
        try:
            message = self.response_class.FromString(payload)
        except DecodeError as error:
            raise ValueError(str(error)) from None
        return self.read(message)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """A node that knows no leader then says so at once, before it does anything, instead of waiting for one."""
        return (("hasleader", "true"),) if self.needs_leader else ()


# --- reads -----------------------------------------------------------------------------------------------------------


def get(key: Text, *, revision: int, serializable: bool) -> Call[KeyValue | None]:
    """One key, or None."""
    request = _range_request(one(key))
    request.revision = revision
    request.serializable = serializable
    return _range_call(request, first_key_value)


def range_(
    interval: Interval,
    *,
    limit: int,
    revision: int,
    keys_only: bool,
    count_only: bool,
    serializable: bool,
    descending: bool,
) -> Call[RangeResult]:
    """All keys in the interval, in order."""
    request = _range_request(interval)
    request.limit = limit
    request.revision = revision
    request.keys_only = keys_only
    request.count_only = count_only
    request.serializable = serializable
    if descending:
        request.sort_order = rpc.RangeRequest.DESCEND
    return _range_call(request, _range_result)


def status(endpoint: str) -> Call[EndpointStatus]:
    """What this endpoint says about itself. It needs no leader for that."""

    def read(response: rpc.StatusResponse) -> EndpointStatus:
        return EndpointStatus(
            endpoint=endpoint,
            member_id=response.header.member_id,
            leader=response.leader,
            ballot_round=response.raftTerm,
            decided=response.raftIndex,
            applied=response.raftAppliedIndex,
            size_bytes=response.dbSize,
            version=response.version,
            is_learner=response.isLearner,
            revision=response.header.revision,
        )

    return Call(
        "/etcdserverpb.Maintenance/Status",
        rpc.StatusRequest(),
        rpc.StatusResponse,
        read,
        is_read=True,
        needs_leader=False,
    )


def members() -> Call[tuple[Member, ...]]:
    """The nodes of the cluster, by a linearizable read of its configuration."""

    def read(response: rpc.MemberListResponse) -> tuple[Member, ...]:
        return tuple(
            Member(
                member_id=member.ID,
                name=member.name,
                peer_urls=tuple(member.peerURLs),
                client_urls=tuple(member.clientURLs),
                is_learner=member.isLearner,
            )
            for member in response.members
        )

    return Call(
        "/etcdserverpb.Cluster/MemberList",
        rpc.MemberListRequest(linearizable=True),
        rpc.MemberListResponse,
        read,
        is_read=True,
    )


# --- writes ----------------------------------------------------------------------------------------------------------


def put(key: Text, value: Text) -> Call[PutResult]:
    """Put one key."""
    request = rpc.PutRequest(key=to_bytes(key), value=to_bytes(value))
    return Call("/etcdserverpb.KV/Put", request, rpc.PutResponse, put_result, is_read=False)


def delete(interval: Interval) -> Call[DeleteResult]:
    """Delete all keys in the interval."""
    request = rpc.DeleteRangeRequest(key=interval.key, range_end=interval.range_end)
    return Call("/etcdserverpb.KV/DeleteRange", request, rpc.DeleteRangeResponse, _delete_result, is_read=False)


def transaction(parts: TransactionParts) -> Call[TxnResult]:
    """All of it or nothing, at one revision. Made of reads alone, it is a read."""
    request = rpc.TxnRequest(
        compare=map(_comparison, parts.comparisons),
        success=map(_operation, parts.success),
        failure=map(_operation, parts.failure),
    )
    is_read = all(isinstance(operation, Get) for operation in (*parts.success, *parts.failure))
    return Call("/etcdserverpb.KV/Txn", request, rpc.TxnResponse, _txn_result, is_read=is_read)


def compare_and_swap(key: Text, expected: Text | None, new: Text) -> Call[bool]:
    """Put ``new`` if the key's value is ``expected``, or with None if the key is absent; whether it did."""
    comparison = Compare.absent(key) if expected is None else Compare.value(key) == expected
    swap = transaction(TransactionParts().when(comparison).then(Put(key, new)))
    return Call(swap.method, swap.request, rpc.TxnResponse, lambda response: bool(response.succeeded), is_read=False)


# --- to and from messages --------------------------------------------------------------------------------------------


def _range_request(interval: Interval) -> rpc.RangeRequest:
    return rpc.RangeRequest(key=interval.key, range_end=interval.range_end)


def _range_call(request: rpc.RangeRequest, read: Callable[[rpc.RangeResponse], T]) -> Call[T]:
    return Call(
        "/etcdserverpb.KV/Range",
        request,
        rpc.RangeResponse,
        read,
        is_read=True,
        needs_leader=not request.serializable,
    )


def _comparison(comparison: Comparison) -> rpc.Compare:
    message = rpc.Compare(key=comparison.key, target=comparison.target, result=comparison.relation)
    match comparison.target, comparison.operand:
        case "VALUE", bytes(value):
            message.value = value
        case "VERSION", int(number):
            message.version = number
        case "CREATE", int(number):
            message.create_revision = number
        case "MOD", int(number):
            message.mod_revision = number
        case "LEASE", int(number):
            message.lease = number
        case _:
            raise TypeError(f"{comparison.target} cannot be compared with {comparison.operand!r}")
    return message


def _operation(operation: Operation) -> rpc.RequestOp:
    match operation:
        case Put(key, value):
            return rpc.RequestOp(request_put=rpc.PutRequest(key=to_bytes(key), value=to_bytes(value)))
        case Get(interval=interval):
            return rpc.RequestOp(request_range=_range_request(interval))
        case Delete(interval=interval):
            request = rpc.DeleteRangeRequest(key=interval.key, range_end=interval.range_end)
            return rpc.RequestOp(request_delete_range=request)
        case _:
            assert_never(operation)


def _txn_result(response: rpc.TxnResponse) -> TxnResult:
    return TxnResult(
        succeeded=response.succeeded,
        results=tuple(map(_operation_result, response.responses)),
        revision=response.header.revision,
    )


def _operation_result(response: rpc.ResponseOp) -> OperationResult:
    match response.WhichOneof("response"):
        case "response_put":
            return put_result(response.response_put)
        case "response_range":
            return _range_result(response.response_range)
        case "response_delete_range":
            return _delete_result(response.response_delete_range)
        case kind:
            raise ValueError(f"an operation that was not asked for was answered: {kind}")


def put_result(response: rpc.PutResponse) -> PutResult:
    """The revision."""
    return PutResult(revision=response.header.revision)


def _delete_result(response: rpc.DeleteRangeResponse) -> DeleteResult:
    return DeleteResult(deleted=response.deleted, revision=response.header.revision)


def _range_result(response: rpc.RangeResponse) -> RangeResult:
    return RangeResult(
        kvs=tuple(map(_key_value, response.kvs)),
        count=response.count,
        more=response.more,
        revision=response.header.revision,
    )


def first_key_value(response: rpc.RangeResponse) -> KeyValue | None:
    """What a get of one key found."""
    kvs = response.kvs
    return _key_value(kvs[0]) if kvs else None


def _key_value(message: rpc.KeyValue) -> KeyValue:
    return KeyValue(
        key=message.key,
        value=message.value,
        create_revision=message.create_revision,
        mod_revision=message.mod_revision,
        version=message.version,
        lease=message.lease,
    )
