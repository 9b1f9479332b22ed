"""What a local cluster's terminals share: one JSON file in its data directory.

It says which nodes there are, how each was started and which process each is now, so that a node can be killed or
started again from another terminal. It is replaced atomically, and changed only under a lock, so that two terminals
never work on one node at once. No file: no cluster.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from kvstore.server.processes import Process

__all__ = ["ClusterError", "ClusterState", "NodeState", "StateFile"]

_FORMAT: Final = 1


class ClusterError(Exception):
    """What a person at a terminal can act on, in one line (or with a node's last log lines below it)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """One node: how it is started, and which process it is or last was.

    ``log_offset`` is where the log of the present process begins in its file.
    """

    node_id: int
    client: str
    peer: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    log: str
    log_offset: int = 0
    process: Process | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """``supervisor`` is the process of ``kv-cluster up`` or of whoever else started the cluster."""

    supervisor: Process
    nodes: dict[int, NodeState]

    def with_node(self, node: NodeState) -> "ClusterState":
        return replace(self, nodes={**self.nodes, node.node_id: node})


class StateFile:
    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._path = data_dir / "cluster.json"
        self._lock = data_dir / "cluster.lock"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other terminals waiting. Not reentrant."""
        if not self.data_dir.is_dir():
            raise ClusterError(f"no cluster runs in {self.data_dir}: there is no such directory")
        with open(self._lock, "a", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def read(self) -> ClusterState | None:
        """The state, or None where no cluster runs."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            return _decode(json.loads(text))
        except (ValueError, KeyError, TypeError) as error:
            raise ClusterError(f"{self._path} is not a state file of format {_FORMAT}: {error!r}") from error

    def write(self, state: ClusterState) -> None:
        text = json.dumps({"format": _FORMAT, **asdict(state)}, indent=2)
        draft = self._path.with_suffix(".json.draft")
        draft.write_text(text + "\n", encoding="utf-8")
        os.replace(draft, self._path)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def _decode(data: dict[str, Any]) -> ClusterState:
    if data["format"] != _FORMAT:
        raise ValueError(f"its format is {data['format']}")
    nodes = (_decode_node(node) for node in data["nodes"].values())
    return ClusterState(supervisor=Process(**data["supervisor"]), nodes={node.node_id: node for node in nodes})


def _decode_node(data: dict[str, Any]) -> NodeState:
    process = data["process"]
    return NodeState(
        **{
            **data,
            "command": tuple(data["command"]),
            "process": None if process is None else Process(**process),
        }
    )
