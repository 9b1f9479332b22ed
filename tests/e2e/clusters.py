"""What many stories about real nodes need: a running cluster, its leader, and patience."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from kvclient import Client, EndpointStatus, KvError

from kvstore.server.local_cluster import LocalCluster
from kvstore.server.ports import free_base_port
from kvstore.server.processes import wait_until

__all__ = ["WAIT_S", "eventually", "leader_of", "running", "statuses"]

WAIT_S = 60.0
"""Longer than anything takes on a busy machine; whoever waits goes on as soon as it has come true."""

T = TypeVar("T")


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


def statuses(cluster: LocalCluster) -> dict[int, EndpointStatus]:
    """What each node says of itself, by its id; those that do not answer are left out."""
    with Client(cluster.endpoints) as client:
        answers = client.status(timeout=2.0)
    return {i: answer for i, answer in zip(cluster.node_ids, answers, strict=True) if answer.error is None}


def leader_of(cluster: LocalCluster) -> int:
    """The node that says that it leads, in the highest ballot if several do, as soon as there is one."""
    found: list[int] = []

    def look() -> bool:
        leaders = [(s.ballot_round, i) for i, s in statuses(cluster).items() if s.leader == i]
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
