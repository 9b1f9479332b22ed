"""Short ways to say what the stories need."""

import sqlite3

from kvproto.command_pb2 import CommandBatch, Entry, ExpireSessions, OpenSession, PublishMember
from kvproto.etcd.rpc_pb2 import (
    Compare,
    DeleteRangeRequest,
    PutRequest,
    RangeRequest,
    RequestOp,
    TxnRequest,
)

from kvstore.mvcc import Limits, Refusal, Store


def new_store(limits: Limits = Limits()) -> Store:  # noqa: B008 - frozen
    return Store(sqlite3.connect(":memory:"), limits)


def entry(command, *, session: int = 0, sequence: int = 0) -> Entry:
    name = {
        PutRequest: "put",
        DeleteRangeRequest: "delete_range",
        TxnRequest: "txn",
        PublishMember: "publish_member",
        OpenSession: "open_session",
        ExpireSessions: "expire_sessions",
    }[type(command)]
    return Entry(session=session, sequence=sequence, **{name: command})


def batch(*entries: Entry) -> CommandBatch:
    made = CommandBatch()
    made.entries.extend(entries)
    return made


def turn(store: Store, *batches: CommandBatch):
    """Applies the batches in one turn; returns the results of all entries, flat."""
    store.begin()
    results = [result for one in batches for result in store.apply(store.applied_end, one)]
    store.commit()
    return results


def run(store: Store, command, *, session: int = 0, sequence: int = 0):
    """One command in a turn of its own."""
    (result,) = turn(store, batch(entry(command, session=session, sequence=sequence)))
    return result


def plain(result):
    """A refusal as the pair that the model returns."""
    return (result.code.name, result.text) if isinstance(result, Refusal) else result


def dump(store: Store) -> list[str]:
    """Every table's rows in a total order; the schema too."""
    return list(store._connection.iterdump())


def put(key: bytes, value: bytes = b"", **options) -> PutRequest:
    return PutRequest(key=key, value=value, **options)


def delete(key: bytes, range_end: bytes = b"", **options) -> DeleteRangeRequest:
    return DeleteRangeRequest(key=key, range_end=range_end, **options)


def get(key: bytes, range_end: bytes = b"", **options) -> RangeRequest:
    return RangeRequest(key=key, range_end=range_end, **options)


def op(request) -> RequestOp:
    name = {
        PutRequest: "request_put",
        DeleteRangeRequest: "request_delete_range",
        RangeRequest: "request_range",
        TxnRequest: "request_txn",
    }[type(request)]
    return RequestOp(**{name: request})


def txn(*, compare: list[Compare] | None = None, success=(), failure=()) -> TxnRequest:
    return TxnRequest(compare=compare or [], success=map(op, success), failure=map(op, failure))
