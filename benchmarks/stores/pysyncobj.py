"""PySyncObj: two nodes here, and the load generator itself is the third, since clients are nodes with this library."""

import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.drivers import ROOT
from benchmarks.errors import BenchmarkError
from benchmarks.stores.port import ForeignStore
from kvstore.server.ports import HOST, PORTS_A_NODE, free_base_port

__all__ = ["PySyncObj"]


class PySyncObj(ForeignStore):
    name = "pysyncobj"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, node_ids=(2, 3))
        self._base_port = free_base_port()

    @classmethod
    def version(cls) -> str | None:
        """None where it is not installed."""
        try:
            return importlib.metadata.version("pysyncobj")
        except importlib.metadata.PackageNotFoundError:
            return None

    def endpoint(self, node_id: int) -> str:
        return f"{HOST}:{self._base_port + PORTS_A_NODE * (node_id - 1)}"

    def leader(self) -> int:
        raise BenchmarkError("PySyncObj's nodes are asked nothing from outside")

    def leader_first(self) -> list[str]:
        """The load generator's own address first."""
        return [self.endpoint(node_id) for node_id in (1, *self.node_ids)]

    def serves(self, node_id: int) -> bool:
        return b"ready" in self.log_path(node_id).read_bytes()

    def command(self, node_id: int) -> Sequence[str]:
        others = [self.endpoint(other) for other in (1, 2, 3) if other != node_id]
        return [sys.executable, "-m", "benchmarks.drivers.pysyncobj_async", self.endpoint(node_id), *others]

    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(ROOT)}
