"""The registry: which handler answers which path, so that any front can put the services on a wire.

What is not here does not exist; a front answers it with UNIMPLEMENTED. Paths bear etcd's names, the messages are of a
package of our own.
"""

from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from kvproto.etcd.rpc_pb2 import (
    DeleteRangeRequest,
    DeleteRangeResponse,
    MemberListRequest,
    MemberListResponse,
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    StatusRequest,
    StatusResponse,
    TxnRequest,
    TxnResponse,
)
from kvproto.session_pb2 import ClientBatch, ServerBatch

from kvstore.api.cluster import Cluster
from kvstore.api.context import Context
from kvstore.api.kv import Kv
from kvstore.api.maintenance import Maintenance
from kvstore.api.port import ReplicaPort
from kvstore.api.service import REQUEST_TIMEOUT_S
from kvstore.api.session import Sessions

__all__ = ["Handler", "Method", "StreamHandler", "all_methods", "etcd_methods"]

StreamHandler = Callable[[AsyncIterator[Any], Context], AsyncIterator[Message]]
"""Takes the messages that come in; gives those that go out until the call ends, or raises ApiError."""

Handler = Callable[[Any, Context], Coroutine[Any, Any, Message]]
"""Takes a message of the method's request class; answers with one of its response class or raises ApiError."""


@dataclass(frozen=True, slots=True)
class Method:
    """``path`` is ``/package.Service/Name``. A stream has a ``stream_handler`` and no other."""

    path: str
    handler: Handler | None
    request_class: type[Message]
    response_class: type[Message]
    stream_handler: StreamHandler | None = None

    @property
    def service(self) -> str:
        return self.path.split("/")[1]

    @property
    def name(self) -> str:
        return self.path.split("/")[2]


def etcd_methods(port: ReplicaPort, *, request_timeout_s: float = REQUEST_TIMEOUT_S) -> dict[str, Method]:
    """What is spoken of the etcd v3 API, by path."""
    kv = Kv(port, request_timeout_s=request_timeout_s)
    maintenance = Maintenance(port, request_timeout_s=request_timeout_s)
    cluster = Cluster(port, request_timeout_s=request_timeout_s)
    methods = (
        Method("/etcdserverpb.KV/Range", kv.range, RangeRequest, RangeResponse),
        Method("/etcdserverpb.KV/Put", kv.put, PutRequest, PutResponse),
        Method("/etcdserverpb.KV/DeleteRange", kv.delete_range, DeleteRangeRequest, DeleteRangeResponse),
        Method("/etcdserverpb.KV/Txn", kv.txn, TxnRequest, TxnResponse),
        Method("/etcdserverpb.Maintenance/Status", maintenance.status, StatusRequest, StatusResponse),
        Method("/etcdserverpb.Cluster/MemberList", cluster.member_list, MemberListRequest, MemberListResponse),
    )
    return {method.path: method for method in methods}


def all_methods(port: ReplicaPort, *, request_timeout_s: float = REQUEST_TIMEOUT_S) -> dict[str, Method]:
    """The etcd API and the session stream, by path."""
    sessions = Sessions(port, request_timeout_s=request_timeout_s)
    stream = Method(
        "/kvstore.session.v1.Session/Stream", None, ClientBatch, ServerBatch, stream_handler=sessions.stream
    )
    return etcd_methods(port, request_timeout_s=request_timeout_s) | {stream.path: stream}
