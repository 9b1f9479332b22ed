"""Transactions: compare, then one of two lists of operations, which may be transactions again.

As in etcd, everything that can be refused is found before anything is written: first all compares on the chosen path,
those of nested transactions included, are evaluated against the state before the transaction, then the operations on
that path are checked. So a refused transaction leaves nothing behind, without savepoints. Reads among the operations do
see the writes before them; all writes share one revision.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import eq, gt, lt, ne
from typing import Any

from kvproto.etcd.rpc_pb2 import (
    Compare,
    DeleteRangeRequest,
    DeleteRangeResponse,
    PutRequest,
    PutResponse,
    RequestOp,
    ResponseOp,
    TxnRequest,
    TxnResponse,
)

from kvstore.mvcc.errors import KeyNotFound, LeaseNotFound
from kvstore.mvcc.interval import interval
from kvstore.mvcc.ranges import execute_range
from kvstore.mvcc.revisions import Head, Revisions

__all__ = ["check_put_state", "execute_delete_range", "execute_put", "execute_txn", "txn_is_readonly"]

_HOLDS: dict[int, Callable[[Any, Any], Any]] = {
    Compare.EQUAL: eq,
    Compare.GREATER: gt,
    Compare.LESS: lt,
    Compare.NOT_EQUAL: ne,
}


def txn_is_readonly(request: TxnRequest) -> bool:
    """Whether no branch, taken or not, could write: such a transaction needs no slot."""
    return all(_operation_is_readonly(op) for branch in (request.success, request.failure) for op in branch)


def _operation_is_readonly(operation: RequestOp) -> bool:
    match operation.WhichOneof("request"):
        case "request_range":
            return True
        case "request_txn":
            return txn_is_readonly(operation.request_txn)
        case _:
            return False


def execute_txn(revisions: Revisions, request: TxnRequest) -> TxnResponse:
    """Runs a transaction that ``validate`` let pass, as part of the write transaction in progress."""
    plan = _plan(revisions, request)
    response = TxnResponse()
    _execute(revisions, plan, response)
    return response


def check_put_state(revisions: Revisions, request: PutRequest) -> None:
    """What a put needs of the state."""
    if (request.ignore_value or request.ignore_lease) and revisions.live_head(request.key) is None:
        raise KeyNotFound
    if request.lease:
        raise LeaseNotFound  # no lease can be granted yet


def execute_put(revisions: Revisions, request: PutRequest, response: PutResponse) -> None:
    """A put that passed ``check_put_state``."""
    key = request.key
    head = revisions.head(key)
    value, lease = request.value, request.lease
    if head is not None and head.version:
        if request.prev_kv:
            response.prev_kv.CopyFrom(revisions.key_value(key, head))
        if request.ignore_value:
            value = revisions.value(head.row)
        if request.ignore_lease:
            lease = head.lease
    revisions.put(key, value, lease, head)
    response.header.revision = revisions.visible_revision


def execute_delete_range(revisions: Revisions, request: DeleteRangeRequest, response: DeleteRangeResponse) -> None:
    for key, head in _live(revisions, request.key, request.range_end):
        if request.prev_kv:
            response.prev_kvs.append(revisions.key_value(key, head))
        revisions.delete(key, head)
        response.deleted += 1
    response.header.revision = revisions.visible_revision


def _live(revisions: Revisions, key: bytes, range_end: bytes) -> Iterator[tuple[bytes, Head]]:
    if range_end:
        yield from revisions.live(interval(key, range_end))
    elif (head := revisions.live_head(key)) is not None:
        yield key, head


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which branch a transaction takes, and which branches its nested transactions take, in order."""

    succeeded: bool
    operations: tuple[RequestOp, ...]
    nested: tuple["_Plan", ...]


def _plan(revisions: Revisions, request: TxnRequest) -> _Plan:
    succeeded = all(_holds(revisions, compare) for compare in request.compare)
    operations = tuple(request.success if succeeded else request.failure)
    nested = []
    for operation in operations:
        match operation.WhichOneof("request"):
            case "request_range":
                revisions.check_readable(operation.request_range.revision, current=revisions.revision)
            case "request_put":
                check_put_state(revisions, operation.request_put)
            case "request_txn":
                nested.append(_plan(revisions, operation.request_txn))
    return _Plan(succeeded, operations, tuple(nested))


def _execute(revisions: Revisions, plan: _Plan, response: TxnResponse) -> None:
    response.succeeded = plan.succeeded
    nested = iter(plan.nested)
    for operation in plan.operations:
        answer: ResponseOp = response.responses.add()
        match operation.WhichOneof("request"):
            case "request_range":
                answer.response_range.CopyFrom(execute_range(revisions, operation.request_range))
            case "request_put":
                execute_put(revisions, operation.request_put, answer.response_put)
            case "request_delete_range":
                execute_delete_range(revisions, operation.request_delete_range, answer.response_delete_range)
            case "request_txn":
                _execute(revisions, next(nested), answer.response_txn)
            case other:
                raise AssertionError(f"validate let a transaction's operation {other} pass")
    response.header.revision = revisions.visible_revision


def _holds(revisions: Revisions, compare: Compare) -> bool:
    """Whether every key in range compares; an absent one, or an empty range, counts as zeros and equals no value."""
    holds = _HOLDS[compare.result]
    expected = _expected(compare)
    found = False
    for _, head in _live(revisions, compare.key, compare.range_end):
        found = True
        if not holds(_actual(revisions, compare, head), expected):
            return False
    return found or (compare.target != Compare.VALUE and bool(holds(0, expected)))


def _expected(compare: Compare) -> int | bytes:
    """The operand. If it is of another kind than the target, or missing, the target's zero stands in, as in etcd."""
    match compare.target:
        case Compare.VERSION:
            return compare.version
        case Compare.CREATE:
            return compare.create_revision
        case Compare.MOD:
            return compare.mod_revision
        case Compare.VALUE:
            return compare.value
        case Compare.LEASE:
            return compare.lease
        case other:
            raise AssertionError(f"validate let the compare target {other} pass")


def _actual(revisions: Revisions, compare: Compare, head: Head) -> int | bytes:
    match compare.target:
        case Compare.VERSION:
            return head.version
        case Compare.CREATE:
            return head.create_revision
        case Compare.MOD:
            return head.revision
        case Compare.VALUE:
            return revisions.value(head.row)
        case Compare.LEASE:
            return head.lease
        case other:
            raise AssertionError(f"validate let the compare target {other} pass")
