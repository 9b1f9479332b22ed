"""Checks of a request that need no state.

The API runs them before it proposes, so that nonsense costs no slot; ``apply`` runs them again, because what was
decided may come from another version's API. They follow etcd's order, so that a request with two faults gets
etcd's answer.
"""

from collections.abc import Iterable

from google.protobuf.message import Message
from kvproto.etcd.rpc_pb2 import Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest

from kvstore.mvcc.errors import (
    DuplicateKey,
    InvalidCompare,
    InvalidSortOption,
    KeyNotFound,
    KeyNotProvided,
    LeaseProvided,
    RequestTooLarge,
    TooManyOperations,
    ValueProvided,
)
from kvstore.mvcc.interval import Interval, interval
from kvstore.mvcc.limits import Limits

__all__ = ["REQUEST_BYTES_MAX", "check_delete_range", "check_put", "check_range", "check_size", "check_txn"]

REQUEST_BYTES_MAX = 3 * 512 * 1024

_SORT_ORDERS = tuple(RangeRequest.SortOrder.values())
_SORT_TARGETS = tuple(RangeRequest.SortTarget.values())
_COMPARE_RESULTS = tuple(Compare.CompareResult.values())
_COMPARE_TARGETS = tuple(Compare.CompareTarget.values())


def check_size(request: Message, *, bytes_max: int = REQUEST_BYTES_MAX) -> None:
    """For the API alone: what is decided is applied whatever its size."""
    if request.ByteSize() > bytes_max:
        raise RequestTooLarge


def check_range(request: RangeRequest) -> None:
    if not request.key:
        raise KeyNotProvided
    if request.sort_order not in _SORT_ORDERS or request.sort_target not in _SORT_TARGETS:
        raise InvalidSortOption


def check_put(request: PutRequest) -> None:
    if not request.key:
        raise KeyNotProvided
    if request.ignore_value and request.value:
        raise ValueProvided
    if request.ignore_lease and request.lease:
        raise LeaseProvided


def check_delete_range(request: DeleteRangeRequest) -> None:
    if not request.key:
        raise KeyNotProvided


def check_txn(request: TxnRequest, limits: Limits) -> None:
    """Shapes and counts first, all the way down; then keys written twice, which is then cheap to find."""
    _check_shape(request, limits.txn_operations_max, limits.txn_depth_max)
    _check_writes(request.success)
    _check_writes(request.failure)


def _check_shape(request: TxnRequest, operations_max: int, depth_max: int) -> None:
    operations = max(len(request.compare), len(request.success), len(request.failure))
    # depth_max has no counterpart in etcd, so no text of its own.
    if operations > operations_max or depth_max == 0:
        raise TooManyOperations
    for compare in request.compare:
        if not compare.key:
            raise KeyNotProvided
        if compare.result not in _COMPARE_RESULTS or compare.target not in _COMPARE_TARGETS:
            raise InvalidCompare
    for branch in (request.success, request.failure):
        for operation in branch:
            _check_operation(operation, operations_max - operations, depth_max - 1)


def _check_operation(operation: RequestOp, operations_max: int, depth_max: int) -> None:
    match operation.WhichOneof("request"):
        case "request_range":
            check_range(operation.request_range)
        case "request_put":
            check_put(operation.request_put)
        case "request_delete_range":
            check_delete_range(operation.request_delete_range)
        case "request_txn":
            _check_shape(operation.request_txn, operations_max, depth_max)
        case _:
            raise KeyNotFound  # etcd's answer to an operation without a request


def _check_writes(branch: Iterable[RequestOp]) -> tuple[list[bytes], list[Interval]]:
    """Refuses a branch that could write a key twice; returns its puts and deletes, nested ones included.

    One step of a branch may clash with any other step; within a nested transaction success and failure may not, since
    only one of them runs. Overlapping deletes are fine. etcd misses one case: a put in a nested transaction that a
    later nested sibling deletes. Here that is a duplicate as well, as in the other order.
    """
    puts: dict[bytes, int] = {}
    deletes: list[tuple[Interval, int]] = []
    for step, operation in enumerate(branch):
        step_puts, step_deletes = _writes_of(operation)
        for key in step_puts:
            if puts.setdefault(key, step) != step:
                raise DuplicateKey
        deletes += ((span, step) for span in step_deletes)
    if puts and deletes:
        _check_overlaps(puts, deletes)
    return list(puts), [span for span, _ in deletes]


def _check_overlaps(puts: dict[bytes, int], deletes: list[tuple[Interval, int]]) -> None:
    """Refuses a put that a delete of another step covers, in one sweep over the sorted keys.

    A small request can hold some 100,000 operations in nested transactions: comparing all pairs would stall a replica.
    """
    waiting = sorted(deletes, key=lambda delete: delete[0].start, reverse=True)
    # Of the deletes that start at or before the key: the one that reaches furthest, and the furthest of another step.
    furthest = runner_up = (_reach(b""), -1)
    for key in sorted(puts):
        while waiting and waiting[-1][0].start <= key:
            span, step = waiting.pop()
            candidate = (_reach(span.end), step)
            if candidate[0] > furthest[0]:
                furthest, runner_up = candidate, (furthest if furthest[1] != step else runner_up)
            elif step != furthest[1] and candidate[0] > runner_up[0]:
                runner_up = candidate
        reach = runner_up[0] if furthest[1] == puts[key] else furthest[0]
        if reach > _reach(key):
            raise DuplicateKey


def _reach(end: bytes | None) -> tuple[bool, bytes]:
    """Orders the ends of intervals: no end is beyond every key."""
    return (end is None, end or b"")


def _writes_of(operation: RequestOp) -> tuple[list[bytes], list[Interval]]:
    match operation.WhichOneof("request"):
        case "request_put":
            return [operation.request_put.key], []
        case "request_delete_range":
            delete = operation.request_delete_range
            return [], [interval(delete.key, delete.range_end)]
        case "request_txn":
            success_puts, success_deletes = _check_writes(operation.request_txn.success)
            failure_puts, failure_deletes = _check_writes(operation.request_txn.failure)
            return success_puts + failure_puts, success_deletes + failure_deletes
        case _:
            return [], []
