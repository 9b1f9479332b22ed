"""Between what the checkers understand and what replicas execute: actions and entries, results and responses."""

from collections.abc import Callable, Iterable
from typing import Final, assert_never

from kvproto.command_pb2 import CommandBatch, Entry
from kvproto.etcd.rpc_pb2 import (
    Compare,
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
from kvproto.etcd.rpc_pb2 import KeyValue as WireKeyValue

from kvstore.mvcc.results import Refusal, Result
from kvstore.paxos.types import Application, Value
from kvstore.testing.checking.decided_log import Command, Opaque
from kvstore.testing.checking.model import (
    Action,
    CompareAndSwap,
    Delete,
    KeyValue,
    Put,
    Range,
    Response,
    Write,
)

__all__ = ["commands_of", "entry_of", "range_request", "range_response", "response_of"]

_TARGETS: Final = {
    "value": Compare.VALUE,
    "version": Compare.VERSION,
    "create_revision": Compare.CREATE,
    "mod_revision": Compare.MOD,
}
_NAMES: Final = {target: name for name, target in _TARGETS.items()}


def entry_of(action: Write, *, session: int, sequence: int, looks_back: bool = True) -> Entry:
    """The entry that asks for ``action`` and, unless it is a put that does not look back, for what was there before."""
    match action:
        case Put(key, value):
            return Entry(session=session, sequence=sequence, put=PutRequest(key=key, value=value, prev_kv=looks_back))
        case Delete(key, range_end):
            request = DeleteRangeRequest(key=key, range_end=range_end, prev_kv=True)
            return Entry(session=session, sequence=sequence, delete_range=request)
        case CompareAndSwap():
            return Entry(session=session, sequence=sequence, txn=_txn(action))
        case _:
            assert_never(action)


def range_request(action: Range, *, serializable: bool) -> RangeRequest:
    return RangeRequest(key=action.key, range_end=action.range_end, limit=action.limit, serializable=serializable)


def range_response(response: RangeResponse) -> Response:
    return Response(response.header.revision, _entries(response.kvs), response.count)


def response_of(result: Result, *, looks_back: bool = True) -> Response | None:
    """What a client learns from the result of its write; None if it is none of a write."""
    match result:
        case PutResponse() if not looks_back and not result.HasField("prev_kv"):
            return Response(result.header.revision)
        case PutResponse():
            before = (result.prev_kv,) if result.HasField("prev_kv") else ()
            return Response(result.header.revision, _entries(before))
        case DeleteRangeResponse():
            return Response(result.header.revision, _entries(result.prev_kvs), result.deleted)
        case TxnResponse():
            return Response(result.header.revision, _found(result), succeeded=result.succeeded)
        case _:
            return None


def commands_of(
    value: Value,
    results: list[Result],
    *,
    is_repeated: Callable[[int, Entry], bool],
    is_internal: Callable[[int], bool],
) -> tuple[Command, ...]:
    """What a decided value asks of the store, entry by entry; ``results`` tell which were refused.

    A client without a session does not know of the internal one that its node used, so the history does not either: the
    first copy counts as one of no session (``is_internal``), another of a request (``is_repeated``) as nothing at all.
    """
    if not isinstance(value, Application):
        return (Command(Opaque(repr(value).encode())),)
    batch = CommandBatch.FromString(value.data)
    commands = []
    for index, (entry, result) in enumerate(zip(batch.entries, results, strict=True)):
        session, sequence, refused = entry.session, entry.sequence, isinstance(result, Refusal)
        if not is_internal(session):
            commands.append(Command(_action_of(entry), session, sequence, refused=refused))
        elif refused or is_repeated(index, entry):
            commands.append(Command(Opaque(entry.SerializeToString(deterministic=True))))
        else:
            commands.append(Command(_action_of(entry)))
    return tuple(commands)


def _action_of(entry: Entry) -> Action | Opaque:
    match entry.WhichOneof("command"):
        case "put":
            return Put(entry.put.key, entry.put.value)
        case "delete_range":
            return Delete(entry.delete_range.key, entry.delete_range.range_end)
        case "txn":
            return _compare_and_swap(entry.txn)
        case _:
            return Opaque(entry.SerializeToString(deterministic=True))


def _txn(action: CompareAndSwap) -> TxnRequest:
    compare = Compare(key=action.key, target=_TARGETS[action.compare], result=Compare.EQUAL)
    setattr(compare, action.compare, action.expected)
    if action.value is None:
        change = RequestOp(request_delete_range=DeleteRangeRequest(key=action.key, prev_kv=True))
    else:
        change = RequestOp(request_put=PutRequest(key=action.key, value=action.value, prev_kv=True))
    look = RequestOp(request_range=RangeRequest(key=action.key))
    return TxnRequest(compare=[compare], success=[change], failure=[look])


def _compare_and_swap(request: TxnRequest) -> CompareAndSwap:
    (compare,), (change,) = request.compare, request.success
    name = _NAMES[compare.target]
    value = change.request_put.value if change.HasField("request_put") else None
    return CompareAndSwap(compare.key, name, getattr(compare, name), value)  # type: ignore[arg-type]


def _found(response: TxnResponse) -> tuple[KeyValue, ...]:
    """What was there before, whichever branch told it."""
    (operation,) = response.responses
    match operation.WhichOneof("response"):
        case "response_put":
            put = operation.response_put
            return _entries((put.prev_kv,) if put.HasField("prev_kv") else ())
        case "response_delete_range":
            return _entries(operation.response_delete_range.prev_kvs)
        case "response_range":
            return _entries(operation.response_range.kvs)
        case other:
            raise AssertionError(f"a compare-and-swap was answered with {other}")


def _entries(found: Iterable[WireKeyValue]) -> tuple[KeyValue, ...]:
    return tuple(KeyValue(one.key, one.value, one.create_revision, one.mod_revision, one.version) for one in found)
