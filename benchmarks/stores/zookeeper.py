"""Apache ZooKeeper, as Debian's package zookeeper has it, with the settings of its example for three servers."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.stores.port import ForeignStore, ask, wait_until
from kvstore.server.ports import HOST, PORTS_A_NODE, free_base_port

__all__ = ["ZooKeeper"]

_JAR: Final = Path("/usr/share/java/zookeeper.jar")
_MAIN: Final = "org.apache.zookeeper.server.quorum.QuorumPeerMain"


class ZooKeeper(ForeignStore):
    name = "zookeeper"

    def __init__(self, directory: Path, *, nodes: int = 3) -> None:
        super().__init__(directory, node_ids=range(1, nodes + 1))
        self._base_port = free_base_port(nodes=nodes)

    @classmethod
    def version(cls) -> str | None:
        """None where it or Java is not installed."""
        if shutil.which("java") is None or not _JAR.exists():
            return None
        names = (re.fullmatch(r"zookeeper-([\d.]+)\.jar", path.name) for path in _JAR.parent.iterdir())
        return next((name[1] for name in names if name), "unknown")

    @staticmethod
    def java_version() -> str:
        told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True, timeout=60).stderr
        return told.splitlines()[0].split('"')[1]

    def endpoint(self, node_id: int) -> str:
        return f"{HOST}:{self._port(node_id)}"

    def start(self) -> None:
        for node_id in self.node_ids:
            directory = self.node_dir(node_id)
            directory.mkdir(parents=True)
            (directory / "myid").write_text(f"{node_id}\n", encoding="ascii")
            self._settings(node_id).write_text(self._config(node_id), encoding="ascii")
        super().start()

    def leader(self) -> int:
        found: list[int] = []

        def look() -> bool:
            found[:] = [i for i in self.node_ids if b"Mode: leader" in ask(self.endpoint(i), b"srvr")]
            return bool(found)

        wait_until(look, "ZooKeeper elects no leader")
        return found[0]

    def serves(self, node_id: int) -> bool:
        return b"Mode: " in ask(self.endpoint(node_id), b"srvr")

    def command(self, node_id: int) -> Sequence[str]:
        return ["java", "-Djava.awt.headless=true", "-cp", str(_JAR), _MAIN, str(self._settings(node_id))]

    def _config(self, node_id: int) -> str:
        settings = {
            "tickTime": "2000",
            "initLimit": "10",
            "syncLimit": "5",
            "dataDir": str(self.node_dir(node_id)),
            "clientPort": str(self._port(node_id)),
            "clientPortAddress": HOST,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "srvr",
            **{f"server.{i}": f"{HOST}:{self._port(i) + 1}:{self._port(i) + 2}" for i in self.node_ids},
        }
        return "".join(f"{name}={value}\n" for name, value in settings.items())

    def _settings(self, node_id: int) -> Path:
        return self._directory / f"{node_id}.cfg"

    def _port(self, node_id: int) -> int:
        return self._base_port + PORTS_A_NODE * (node_id - 1)
