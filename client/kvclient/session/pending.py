"""One call on its way through a session, and what the messages of the stream mean for it.

A put and a get of one key, the commonest calls by far, are kept as their bytes and written straight into a batch.
Everything else brings its request as a message.

``handle`` is whoever waits: anything with ``done``, ``set_result`` and ``set_exception``, as a future has them.
"""

import enum
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import Message
from kvproto.command_pb2 import Entry
from kvproto.etcd.rpc_pb2 import DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest
from kvproto.session_pb2 import Read, ReadAnswer, WriteAnswer

from kvclient.calls import Call, first_key_value, put_result
from kvclient.decisions import Failure

__all__ = [
    "OVERHEAD_BYTES",
    "REQUEST_BYTES_MAX",
    "Kind",
    "Pending",
    "State",
    "answer_in",
    "carries",
    "write_entry",
    "write_read",
]

OVERHEAD_BYTES: Final = 64  # of a request in a batch: numbers, tags and lengths, generously
REQUEST_BYTES_MAX: Final = 3 * 512 * 1024 - OVERHEAD_BYTES  # fits into a batch; a larger one goes by itself


class Kind(enum.Enum):
    """What is asked, as the engine tells it apart."""

    PUT = "put"
    GET = "get"
    WRITE = "write"  # any other request that may write
    READ = "read"


class State(enum.Enum):
    """Where the call is."""

    WAITING = "waiting"  # a write without a sequence, or a read
    SENT = "sent"  # on the stream that is open now
    AGAIN = "again"  # a write with a sequence that is not on this stream, or was refused there
    DONE = "done"  # answered, failed, or nobody waits any more


class Pending:
    """``doubted``: a copy was sent on a stream that was lost. ``failure``: the last refusal that was not the end.

    ``number`` is a write's sequence or a read's number; 0 before the first sending.
    """

    __slots__ = (
        "deadline",
        "doubted",
        "failure",
        "handle",
        "is_read",
        "key",
        "kind",
        "number",
        "read",
        "request",
        "size",
        "state",
        "value",
    )

    def __init__(
        self,
        kind: Kind,
        key: bytes,
        value: bytes,
        request: Message | None,
        read: Callable[[Any], Any],
        *,
        size: int,
        deadline: float,
        handle: Any,
    ) -> None:
        self.kind = kind
        self.is_read = kind is Kind.GET or kind is Kind.READ
        self.key = key
        self.value = value
        self.request = request
        self.read = read
        self.size = size + OVERHEAD_BYTES
        self.deadline = deadline
        self.handle = handle
        self.number = 0
        self.state = State.WAITING
        self.doubted = False
        self.failure: Failure | None = None

    @classmethod
    def put(cls, key: bytes, value: bytes, *, deadline: float, handle: Any) -> "Pending":
        """A plain put."""
        return cls(Kind.PUT, key, value, None, put_result, size=len(key) + len(value), deadline=deadline, handle=handle)

    @classmethod
    def get(cls, key: bytes, *, deadline: float, handle: Any) -> "Pending":
        """A linearizable read of one key, now."""
        return cls(Kind.GET, key, b"", None, first_key_value, size=len(key), deadline=deadline, handle=handle)

    @classmethod
    def of(cls, call: Call[Any], *, deadline: float, handle: Any) -> "Pending":
        """Any other call that a session carries: delete, txn, range."""
        kind = Kind.READ if call.is_read else Kind.WRITE
        request = call.request
        return cls(kind, b"", b"", request, call.read, size=request.ByteSize(), deadline=deadline, handle=handle)


def carries(call: Call[Any], *, is_open: bool) -> bool:
    """Whether a stream is for this call. One that needs no leader does not wait for a session: that would need one."""
    return (is_open or call.needs_leader) and call.request.ByteSize() <= REQUEST_BYTES_MAX


def write_entry(call: Pending, entry: Entry) -> None:
    """A write's request into its place in a batch."""
    match call.request:
        case None:
            put = entry.put
            put.key = call.key
            put.value = call.value
        case DeleteRangeRequest() as request:
            entry.delete_range.CopyFrom(request)
        case TxnRequest() as request:
            entry.txn.CopyFrom(request)
        case PutRequest() as request:
            entry.put.CopyFrom(request)
        case request:
            raise AssertionError(f"no write: {request}")


def write_read(call: Pending, read: Read) -> None:
    """A read's request into its place in a batch."""
    match call.request:
        case None:
            read.range.key = call.key
        case RangeRequest() as request:
            read.range.CopyFrom(request)
        case TxnRequest() as request:
            read.txn.CopyFrom(request)
        case request:
            raise AssertionError(f"no read: {request}")


def answer_in(call: Pending, answer: WriteAnswer | ReadAnswer, kind: str | None) -> Any:
    """The result in an answer whose set field is ``kind``; raises ValueError if it answers something else."""
    expected = _expected(call)
    if kind != expected:
        raise ValueError(f"a {expected} was answered with a {kind}")
    return call.read(getattr(answer, expected))


def _expected(call: Pending) -> str:
    match call.kind, call.request:
        case Kind.PUT, _:
            return "put"
        case Kind.GET, _:
            return "range"
        case _, DeleteRangeRequest():
            return "delete_range"
        case _, TxnRequest():
            return "txn"
        case _, PutRequest():
            return "put"
        case _:
            return "range"
