"""etcd, as Debian's package etcd-server has it, with its defaults but for the room: overwritten values stay in it."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.stores.etcd_api import answers, leader_of
from benchmarks.stores.port import ForeignStore
from kvstore.server.ports import HOST, PORTS_A_NODE, free_base_port

__all__ = ["Etcd"]

_QUOTA_BYTES: Final = 8 << 30


class Etcd(ForeignStore):
    name = "etcd"

    def __init__(self, directory: Path, *, nodes: int = 3) -> None:
        super().__init__(directory, node_ids=range(1, nodes + 1))
        self._base_port = free_base_port(nodes=nodes)

    @classmethod
    def version(cls) -> str | None:
        """None where it is not installed."""
        if shutil.which("etcd") is None:
            return None
        told = subprocess.run(["etcd", "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
        return told.splitlines()[0].rpartition(" ")[2]

    def endpoint(self, node_id: int) -> str:
        return f"{HOST}:{self._base_port + PORTS_A_NODE * (node_id - 1)}"

    def leader(self) -> int:
        return self.node_ids[leader_of(self.endpoints)]

    def serves(self, node_id: int) -> bool:
        return answers(self.endpoint(node_id))

    def command(self, node_id: int) -> Sequence[str]:
        client = f"http://{self.endpoint(node_id)}"
        return [
            "etcd",
            *("--name", f"n{node_id}"),
            *("--data-dir", str(self.node_dir(node_id))),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", self._peer(node_id), "--initial-advertise-peer-urls", self._peer(node_id)),
            *("--initial-cluster", ",".join(f"n{i}={self._peer(i)}" for i in self.node_ids)),
            *("--quota-backend-bytes", str(_QUOTA_BYTES)),
        ]

    def _peer(self, node_id: int) -> str:
        return f"http://{HOST}:{self._base_port + PORTS_A_NODE * (node_id - 1) + 1}"
