"""What many stories about real nodes need: a running cluster, its leader, and patience."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import grpc
from kvclient import Client, KvError
from kvproto.etcd import rpc_pb2 as rpc

from kvstore.server.local_cluster import LocalCluster
from kvstore.server.ports import free_base_port
from kvstore.server.processes import wait_until

__all__ = ["WAIT_S", "clients_of", "eventually", "installed", "leader_of", "running", "statuses", "unread_bytes"]

WAIT_S = 60.0
"""Longer than anything takes on a busy machine; whoever waits goes on as soon as it has come true."""

_ESTABLISHED = "01"

T = TypeVar("T")


def installed(name: str) -> str:
    """Where the command is that the package installs, beside the interpreter of the tests."""
    return str(Path(sys.executable).with_name(name))


@contextmanager
def running(data_dir: Path, *, nodes: int = 3, flags: tuple[str, ...] = ()) -> Iterator[LocalCluster]:
    cluster = LocalCluster(data_dir, nodes=nodes, base_port=free_base_port(nodes=nodes), server_flags=flags)
    try:
        cluster.start()
        cluster.wait_serving(timeout_s=WAIT_S)
        yield cluster
    finally:
        for node_id in cluster.node_ids:
            path = cluster.log_path(node_id)
            lines = path.read_text(errors="replace").splitlines()[-20:] if path.exists() else []
            print(f"--- node {node_id}", *lines, sep="\n")
        cluster.stop()


@contextmanager
def clients_of(cluster: LocalCluster) -> Iterator[Mapping[int, Client]]:
    """A client for each node, by the node's id, which knows that node alone."""
    clients = {i: Client(cluster.endpoint(i), timeout=WAIT_S) for i in cluster.node_ids}
    try:
        yield clients
    finally:
        with ThreadPoolExecutor() as pool:  # a client takes a moment to close
            for _ in pool.map(Client.close, clients.values()):
                pass


def unread_bytes(endpoint: str) -> int:
    """What has reached the sockets of whoever listens there, and waits to be read. Linux only."""
    port = int(endpoint.rpartition(":")[2])
    unread = 0
    for line in (line for table in ("tcp", "tcp6") for line in Path("/proc/net", table).read_text().splitlines()[1:]):
        _number, local, _remote, state, queues, *_ = line.split()
        if state == _ESTABLISHED and int(local.rpartition(":")[2], 16) == port:
            unread += int(queues.rpartition(":")[2], 16)
    return unread


def statuses(cluster: LocalCluster) -> dict[int, rpc.StatusResponse]:
    """What each node says of itself, by its id; those that do not answer are left out."""
    with ExitStack() as channels:
        asked = {}
        for node_id in cluster.node_ids:
            channel = channels.enter_context(grpc.insecure_channel(cluster.endpoint(node_id)))
            ask = channel.unary_unary("/etcdserverpb.Maintenance/Status", None, rpc.StatusResponse.FromString)
            asked[node_id] = ask.future(b"", timeout=2.0)
        return {node_id: answer.result() for node_id, answer in asked.items() if answer.exception() is None}


def leader_of(cluster: LocalCluster) -> int:
    """The node that says that it leads, in the highest ballot if several do, as soon as there is one."""
    found: list[int] = []

    def look() -> bool:
        leaders = [(s.raftTerm, i) for i, s in statuses(cluster).items() if s.leader == i]
        found[:] = [node_id for _, node_id in sorted(leaders)]
        return bool(found)

    assert wait_until(look, timeout_s=WAIT_S), "no leader is elected"
    return found[-1]


def eventually(act: Callable[[], T]) -> T:
    """What ``act`` returns as soon as it raises no KvError: only for what may be done more than once."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return act()
        except KvError:
            if time.monotonic() > deadline:
                raise
