"""What the store should answer, by the simplest means: a list of all changes, replayed in full for every read.

Nothing here is shared with the store but the messages: no heads, no chains, no cache, no SQL.
"""

from dataclasses import dataclass
from typing import NamedTuple

from kvproto.etcd.rpc_pb2 import (
    Compare,
    DeleteRangeRequest,
    DeleteRangeResponse,
    KeyValue,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    RequestOp,
    TxnRequest,
    TxnResponse,
)

EMPTY_KEY = ("INVALID_ARGUMENT", "etcdserver: key is not provided")
VALUE_PROVIDED = ("INVALID_ARGUMENT", "etcdserver: value is provided")
LEASE_PROVIDED = ("INVALID_ARGUMENT", "etcdserver: lease is provided")
KEY_NOT_FOUND = ("INVALID_ARGUMENT", "etcdserver: key not found")
LEASE_NOT_FOUND = ("NOT_FOUND", "etcdserver: requested lease not found")
DUPLICATE_KEY = ("INVALID_ARGUMENT", "etcdserver: duplicate key given in txn request")
FUTURE = ("OUT_OF_RANGE", "etcdserver: mvcc: required revision is a future revision")


class Refuse(Exception):
    pass


class Change(NamedTuple):
    revision: int
    key: bytes
    value: bytes | None  # None: deleted


@dataclass
class Model:
    """``apply`` and ``read`` return a response message or a pair of code name and text."""

    changes: list[Change]
    revision: int = 1

    def apply(self, request):
        before = list(self.changes)
        try:
            match request:
                case PutRequest():
                    self._check_put_shape(request)
                    self._check_put(request)
                    response = self._put(request)
                case DeleteRangeRequest():
                    self._check_key(request)
                    response = self._delete(request)
                case TxnRequest():
                    response = self._whole_txn(request)
        except Refuse as refuse:
            assert self.changes == before, "the model refuses before it writes"
            return refuse.args[0]
        self.revision = self._now()
        return response

    def read(self, request):
        try:
            if isinstance(request, TxnRequest):
                return self._whole_txn(request)
            self._check_key(request)
            return self._range(request)
        except Refuse as refuse:
            return refuse.args[0]

    # The data

    def _now(self):
        return self.changes[-1].revision if self.changes else 1

    def _state(self, revision):
        state = {}
        for change in self.changes:
            if change.revision > revision:
                break
            if change.value is None:
                del state[change.key]
                continue
            old = state.get(change.key)
            state[change.key] = KeyValue(
                key=change.key,
                value=change.value,
                create_revision=old.create_revision if old else change.revision,
                mod_revision=change.revision,
                version=old.version + 1 if old else 1,
            )
        return state

    def _select(self, key, range_end, revision):
        return [kv for _, kv in sorted(self._state(revision).items()) if covers(key, range_end, kv.key)]

    # One request each

    def _check_key(self, request):
        if not request.key:
            raise Refuse(EMPTY_KEY)

    def _check_put_shape(self, request):
        self._check_key(request)
        if request.ignore_value and request.value:
            raise Refuse(VALUE_PROVIDED)
        if request.ignore_lease and request.lease:
            raise Refuse(LEASE_PROVIDED)

    def _check_put(self, request):
        if (request.ignore_value or request.ignore_lease) and request.key not in self._state(self.revision):
            raise Refuse(KEY_NOT_FOUND)
        if request.lease:
            raise Refuse(LEASE_NOT_FOUND)

    def _put(self, request):
        old = self._state(self._now()).get(request.key)
        response = PutResponse(prev_kv=old if request.prev_kv else None)
        value = old.value if request.ignore_value else request.value
        self.changes.append(Change(self.revision + 1, request.key, value))
        response.header.revision = self._now()
        return response

    def _delete(self, request):
        gone = self._select(request.key, request.range_end, self._now())
        self.changes += [Change(self.revision + 1, kv.key, None) for kv in gone]
        response = DeleteRangeResponse(deleted=len(gone), prev_kvs=gone if request.prev_kv else [])
        response.header.revision = self._now()
        return response

    def _check_range(self, request, current):
        if request.revision > current:
            raise Refuse(FUTURE)

    def _range(self, request):
        now = self._now()
        self._check_range(request, now)
        found = self._select(request.key, request.range_end, request.revision if request.revision > 0 else now)
        response = RangeResponse(count=len(found))
        response.header.revision = now
        if request.count_only:
            return response
        found = [kv for kv in found if passes(kv, request)]
        attribute = {
            RangeRequest.KEY: "key",
            RangeRequest.VERSION: "version",
            RangeRequest.CREATE: "create_revision",
            RangeRequest.MOD: "mod_revision",
            RangeRequest.VALUE: "value",
        }[request.sort_target]
        found.sort(key=lambda kv: getattr(kv, attribute), reverse=request.sort_order == RangeRequest.DESCEND)
        if 0 < request.limit < len(found):
            response.more = True
            found = found[: request.limit]
        for kv in found:
            response.kvs.add().CopyFrom(kv)
            if request.keys_only:
                response.kvs[-1].ClearField("value")
        return response

    # Transactions

    def _whole_txn(self, request):
        self._check_txn_shape(request)
        for branch in (request.success, request.failure):
            if clashes(branch):
                raise Refuse(DUPLICATE_KEY)
        choices = []
        self._choose(request, choices)
        return self._run(request, iter(choices))

    def _check_txn_shape(self, request):
        for compare in request.compare:
            self._check_key(compare)
        for operation in [*request.success, *request.failure]:
            match which(operation):
                case PutRequest() as put:
                    self._check_put_shape(put)
                case TxnRequest() as txn:
                    self._check_txn_shape(txn)
                case None:
                    raise Refuse(KEY_NOT_FOUND)
                case other:
                    self._check_key(other)

    def _choose(self, request, choices):
        """Evaluates all compares against the state before the transaction, and checks what will run."""
        taken = all(self._compare(compare) for compare in request.compare)
        choices.append(taken)
        for operation in request.success if taken else request.failure:
            match which(operation):
                case RangeRequest() as range_:
                    self._check_range(range_, self.revision)
                case PutRequest() as put:
                    self._check_put(put)
                case TxnRequest() as txn:
                    self._choose(txn, choices)

    def _run(self, request, choices):
        response = TxnResponse(succeeded=next(choices))
        for operation in request.success if response.succeeded else request.failure:
            answer = response.responses.add()
            match which(operation):
                case RangeRequest() as range_:
                    answer.response_range.CopyFrom(self._range(range_))
                case PutRequest() as put:
                    answer.response_put.CopyFrom(self._put(put))
                case DeleteRangeRequest() as delete:
                    answer.response_delete_range.CopyFrom(self._delete(delete))
                case TxnRequest() as txn:
                    answer.response_txn.CopyFrom(self._run(txn, choices))
        response.header.revision = self._now()
        return response

    def _compare(self, compare):
        found = self._select(compare.key, compare.range_end, self.revision)
        if not found and compare.target == Compare.VALUE:
            return False
        attribute, operand = {
            Compare.VERSION: ("version", compare.version),
            Compare.CREATE: ("create_revision", compare.create_revision),
            Compare.MOD: ("mod_revision", compare.mod_revision),
            Compare.VALUE: ("value", compare.value),
            Compare.LEASE: ("lease", compare.lease),
        }[compare.target]
        actual = [getattr(kv, attribute) for kv in found or [KeyValue()]]
        return all(
            {
                Compare.EQUAL: value == operand,
                Compare.NOT_EQUAL: value != operand,
                Compare.LESS: value < operand,
                Compare.GREATER: value > operand,
            }[compare.result]
            for value in actual
        )


def covers(key, range_end, candidate):
    if not range_end:
        return candidate == key
    return candidate >= key and (range_end == b"\0" or candidate < range_end)


def passes(kv, request):
    return not (
        (request.min_mod_revision and kv.mod_revision < request.min_mod_revision)
        or (request.max_mod_revision and kv.mod_revision > request.max_mod_revision)
        or (request.min_create_revision and kv.create_revision < request.min_create_revision)
        or (request.max_create_revision and kv.create_revision > request.max_create_revision)
    )


def which(operation: RequestOp):
    name = operation.WhichOneof("request")
    return getattr(operation, name) if name else None


def clashes(branch):
    """Whether any two steps of the branch, or of a branch below it, could write one key."""
    writes = []
    for operation in branch:
        inner = which(operation)
        if isinstance(inner, TxnRequest) and (clashes(inner.success) or clashes(inner.failure)):
            return True
        writes.append(all_writes(operation))
    return any(
        write_clash(one, other)
        for i, ones in enumerate(writes)
        for others in writes[i + 1 :]
        for one in ones
        for other in others
    )


def all_writes(operation):
    match which(operation):
        case PutRequest() | DeleteRangeRequest() as write:
            return [write]
        case TxnRequest() as txn:
            return [write for inner in [*txn.success, *txn.failure] for write in all_writes(inner)]
        case _:
            return []


def write_clash(one, other):
    match one, other:
        case PutRequest(), PutRequest():
            return one.key == other.key
        case PutRequest(), DeleteRangeRequest():
            return covers(other.key, other.range_end, one.key)
        case DeleteRangeRequest(), PutRequest():
            return covers(one.key, one.range_end, other.key)
        case _:
            return False
