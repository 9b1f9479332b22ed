"""This store: ``LocalCluster``'s processes, as a user would start them."""

from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.stores.etcd_api import leader_of
from benchmarks.stores.port import Store
from kvstore.server.local_cluster import LocalCluster
from kvstore.server.ports import free_base_port

__all__ = ["KvStore"]


class KvStore(Store):
    name = "kvstore"

    def __init__(self, directory: Path, *, nodes: int = 3) -> None:
        self._cluster = LocalCluster(directory, nodes=nodes, base_port=free_base_port(nodes=nodes))
        self.node_ids = self._cluster.node_ids

    def endpoint(self, node_id: int) -> str:
        return self._cluster.endpoint(node_id)

    def pid(self, node_id: int) -> int:
        process = self._cluster.process(node_id)
        if process is None:
            raise BenchmarkError(f"node {node_id} was never started")
        return process.pid

    def log_path(self, node_id: int) -> Path:
        return self._cluster.log_path(node_id)

    def node_dir(self, node_id: int) -> Path:
        return self._cluster.node_dir(node_id)

    def leader(self) -> int:
        return self.node_ids[leader_of(self.endpoints)]

    def start(self) -> None:
        self._cluster.start()

    def wait_serving(self) -> None:
        self._cluster.wait_serving(timeout_s=120.0)

    def require_alive(self, node_id: int) -> None:
        if not self._cluster.is_alive(node_id):
            raise BenchmarkError(f"node {node_id} has died; its log ends:\n{self._cluster.log_tail(node_id)}")

    def kill(self, node_id: int) -> None:
        self._cluster.kill(node_id)

    def restart(self, node_id: int) -> None:
        self._cluster.restart(node_id)

    def stop(self) -> None:
        if self._cluster.data_dir.is_dir():
            self._cluster.stop()
