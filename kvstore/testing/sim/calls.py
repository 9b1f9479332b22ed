"""One attempt of a client at one node, and how it may end."""

from collections.abc import Callable
from dataclasses import dataclass

from kvproto.command_pb2 import Entry
from kvproto.etcd.rpc_pb2 import RangeRequest, RangeResponse

from kvstore.mvcc.results import Result
from kvstore.paxos.types import NodeId
from kvstore.testing.checking.history import Failed, Unknown

__all__ = ["Call", "Reply"]

Reply = Result | RangeResponse | Failed | Unknown
"""``Failed``: certainly not applied and never will be. ``Unknown``: whatever was asked may yet happen."""


@dataclass(eq=False, slots=True)
class Call:
    """``request`` is an entry to be decided or a read. ``answer`` is called at most once, on the node's side."""

    number: int
    client: str
    node: NodeId
    request: Entry | RangeRequest
    answer: Callable[[Reply], None]
