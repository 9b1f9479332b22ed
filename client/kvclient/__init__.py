"""The client of a key-value store that speaks the etcd v3 API: blocking, ``Client``, or on asyncio, ``AsyncClient``.

    from kvclient import Client

    with Client("10.0.0.1:2379,10.0.0.2:2379") as client:
        client.put("greeting", "hello")
        print(client.get("greeting").value)

One law holds for every write: it is sent again only where it certainly was not done. Where nobody can know, the call
raises ``UnknownOutcome``; every other error of a write means that nothing was written.

The decisions (what to send, what an answer means, whether to try again) are pure and shared: ``calls``, ``decisions``,
``attempts``. ``sync_client`` and ``async_client`` only carry bytes, sleep and read the clock.
"""

from kvclient.async_client import AsyncClient, AsyncTransaction
from kvclient.errors import (
    AlreadyExists,
    ClientClosed,
    Code,
    Compacted,
    DeadlineExceeded,
    FailedPrecondition,
    FutureRevision,
    InvalidArgument,
    KvError,
    NoLeader,
    NotFound,
    OutOfRange,
    PermissionDenied,
    Refused,
    ResourceExhausted,
    ServerFailed,
    SessionExpired,
    Unauthenticated,
    Unavailable,
    UnknownOutcome,
    Unsupported,
)
from kvclient.results import DeleteResult, EndpointStatus, KeyValue, Member, PutResult, RangeResult, TxnResult
from kvclient.sync_client import Client, Transaction
from kvclient.transaction import Compare, Comparison, Delete, Get, Put

__all__ = [
    "AlreadyExists",
    "AsyncClient",
    "AsyncTransaction",
    "Client",
    "ClientClosed",
    "Code",
    "Compacted",
    "Compare",
    "Comparison",
    "DeadlineExceeded",
    "Delete",
    "DeleteResult",
    "EndpointStatus",
    "FailedPrecondition",
    "FutureRevision",
    "Get",
    "InvalidArgument",
    "KeyValue",
    "KvError",
    "Member",
    "NoLeader",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "Put",
    "PutResult",
    "RangeResult",
    "Refused",
    "ResourceExhausted",
    "ServerFailed",
    "SessionExpired",
    "Transaction",
    "TxnResult",
    "Unauthenticated",
    "Unavailable",
    "UnknownOutcome",
    "Unsupported",
]
