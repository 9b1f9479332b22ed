"""What a measurement does with a cluster, whichever it is; and what clusters of foreign servers have in common."""

import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.errors import BenchmarkError

__all__ = ["ForeignStore", "Store", "ask", "wait_until"]

_STARTS_S: Final = 120.0
_ENDS_S: Final = 15.0
_POLL_S: Final = 0.02


class Store(ABC):
    """A cluster of server processes. Used as a context manager it starts, waits until it serves, and stops."""

    name: str
    node_ids: tuple[int, ...]

    @property
    def endpoints(self) -> list[str]:
        """Every node's client address, in the order of their ids."""
        return [self.endpoint(node_id) for node_id in self.node_ids]

    @abstractmethod
    def endpoint(self, node_id: int) -> str: ...

    @abstractmethod
    def pid(self, node_id: int) -> int: ...

    @abstractmethod
    def log_path(self, node_id: int) -> Path: ...

    @abstractmethod
    def node_dir(self, node_id: int) -> Path: ...

    @abstractmethod
    def leader(self) -> int:
        """Whom the nodes name; waits until there is one."""

    @abstractmethod
    def start(self) -> None:
        """Start all nodes; does not wait for them."""

    @abstractmethod
    def wait_serving(self) -> None: ...

    @abstractmethod
    def require_alive(self, node_id: int) -> None:
        """Raises BenchmarkError with the end of the node's log if its process has ended."""

    @abstractmethod
    def kill(self, node_id: int) -> None:
        """SIGKILL; returns when it is dead."""

    @abstractmethod
    def restart(self, node_id: int) -> None:
        """Start a dead node on what it has on disk; does not wait for it."""

    @abstractmethod
    def stop(self) -> None: ...

    def leader_first(self) -> list[str]:
        """The endpoints, that of the leader before the others: for clients that talk to one only."""
        leader = self.leader()
        return [self.endpoint(i) for i in sorted(self.node_ids, key=lambda i: (i != leader, i))]

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_serving()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class ForeignStore(Store):
    """Servers that are one command each. Every node has a folder, and a log file beside it."""

    def __init__(self, directory: Path, *, node_ids: Sequence[int]) -> None:
        self.node_ids = tuple(node_ids)
        self._directory = directory
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @abstractmethod
    def command(self, node_id: int) -> Sequence[str]: ...

    def environment(self) -> Mapping[str, str]:
        return {}

    @abstractmethod
    def serves(self, node_id: int) -> bool: ...

    def node_dir(self, node_id: int) -> Path:
        return self._directory / str(node_id)

    def log_path(self, node_id: int) -> Path:
        return self._directory / f"{node_id}.log"

    def pid(self, node_id: int) -> int:
        return self._processes[node_id].pid

    def start(self) -> None:
        for node_id in self.node_ids:
            self.node_dir(node_id).mkdir(parents=True, exist_ok=True)
            self.restart(node_id)

    def wait_serving(self) -> None:
        for node_id in self._processes:
            wait_until(partial(self._lives_and_serves, node_id), f"{self.name}'s node {node_id} does not serve")

    def kill(self, node_id: int) -> None:
        process = self._processes[node_id]
        process.kill()
        process.wait()

    def restart(self, node_id: int) -> None:
        with self.log_path(node_id).open("ab") as log:
            self._processes[node_id] = subprocess.Popen(
                self.command(node_id),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment()},
                start_new_session=True,
            )

    def stop(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(_ENDS_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _lives_and_serves(self, node_id: int) -> bool:
        self.require_alive(node_id)
        return self.serves(node_id)

    def require_alive(self, node_id: int) -> None:
        if self._processes[node_id].poll() is None:
            return
        lines = self.log_path(node_id).read_text(errors="replace").splitlines()[-8:]
        raise BenchmarkError("\n".join([f"{self.name}'s node {node_id} has died; its log ends:", *lines]))


def wait_until(condition: Callable[[], bool], complaint: str, *, timeout_s: float = _STARTS_S) -> None:
    """Raises BenchmarkError with the complaint when the time is over."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{complaint} after {timeout_s:g} s")
        time.sleep(_POLL_S)


def ask(address: str, question: bytes, *, timeout_s: float = 1.0) -> bytes:
    """What a server says to a few bytes before it closes the connection; nothing if it cannot be reached."""
    host, _, port = address.rpartition(":")
    answer = b""
    try:
        with socket.create_connection((host, int(port)), timeout=timeout_s) as connection:
            connection.sendall(question)
            while part := connection.recv(4096):
                answer += part
    except OSError:
        return b""
    return answer
