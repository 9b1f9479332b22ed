"""The services that clients see: plain async handlers over messages.

``etcd_methods`` is the registry, ``ReplicaPort`` what handlers need of the replica, ``ApiError`` what they raise. No
transport's types come in here: a thin front of the server puts the registry on a wire.
"""

from kvstore.api.context import Context
from kvstore.api.errors import ApiError, NoLeader, TimedOut, TooManyRequests
from kvstore.api.port import ConfiguredMember, HeaderFields, NodeStatus, ReplicaPort, SessionSink
from kvstore.api.service import REQUEST_TIMEOUT_S
from kvstore.api.services import Handler, Method, StreamHandler, all_methods, etcd_methods

__all__ = [
    "REQUEST_TIMEOUT_S",
    "ApiError",
    "ConfiguredMember",
    "Context",
    "Handler",
    "HeaderFields",
    "Method",
    "NoLeader",
    "NodeStatus",
    "ReplicaPort",
    "SessionSink",
    "StreamHandler",
    "TimedOut",
    "TooManyRequests",
    "all_methods",
    "etcd_methods",
]
