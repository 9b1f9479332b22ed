"""A cluster of real nodes on this machine, for trying things out and for tests.

``LocalCluster`` starts ``kv-server`` processes and does to them what an operator or a fault would: kill, pause, start
again, stop. It keeps nothing in memory that another process needs: all is in the state file (see ``cluster_state``), so
``LocalCluster.attach`` from another process works on the same nodes. A node that dies stays dead until somebody
restarts it.

Every method that changes a node returns when the change is seen: a killed node is dead, a paused one is stopped. That a
started node serves is for ``wait_ready`` (its listeners are up) and ``wait_serving`` (it knows a leader).
"""

import contextlib
import enum
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kvstore.server.cluster_state import ClusterError, ClusterState, NodeState, StateFile
from kvstore.server.ports import HOST, PORTS_A_NODE, is_free
from kvstore.server.processes import Process, is_alive, is_paused, look_at, reap, send, spawn, wait_until

__all__ = ["ClusterError", "Condition", "Health", "LocalCluster", "NodeLook"]

READY: Final = b"ready to serve client requests on "
"""What a node logs, followed by its address, when it serves."""

_KV_SERVER: Final = (sys.executable, "-m", "kvstore.server.main")
_NODES_MAX: Final = 9
_LOG_TAIL_LINES: Final = 8


class Condition(enum.Enum):
    """What a node's process does."""

    RUNNING = "running"
    PAUSED = "paused"
    DEAD = "dead"


class Health(enum.Enum):
    """What a node says of itself through the standard health service."""

    SERVING = "serving"
    NOT_SERVING = "not serving"
    """It answers, and knows no leader."""
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLook:
    """A look at one node. ``health`` was asked only of a running one."""

    node_id: int
    endpoint: str
    pid: int | None
    condition: Condition
    health: Health
    log: Path


class LocalCluster:
    """``nodes`` kv-server processes on the loopback interface.

    Node i listens for clients on ``base_port + 10 · (i - 1)`` and for peers on the port after it. ``server_flags`` are
    given to every node, ``environment`` is added to every node's (``KV_…`` variables of this process are not passed on:
    they would be meant for one node). ``server_command`` is what a node runs.

    Used as a context manager it starts, waits until every node knows a leader, and stops at the end.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        nodes: int = 3,
        base_port: int = 2379,
        server_flags: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        server_command: Sequence[str] = _KV_SERVER,
    ) -> None:
        if not 1 <= nodes <= _NODES_MAX:
            raise ClusterError(f"a local cluster has from 1 to {_NODES_MAX} nodes, not {nodes}")
        last_port = base_port + PORTS_A_NODE * (nodes - 1) + 1
        if base_port < 1 or last_port > 65535:
            raise ClusterError(f"ports {base_port} to {last_port} are not all between 1 and 65535")
        data_dir = data_dir.absolute()  # the state file is read from other working directories too
        self._file = StateFile(data_dir)
        self._exit_codes: dict[Process, int] = {}
        clients = {i: base_port + PORTS_A_NODE * (i - 1) for i in range(1, nodes + 1)}
        peers = ",".join(f"{i}={HOST}:{port + 1}" for i, port in clients.items())
        self._nodes = {
            i: NodeState(
                node_id=i,
                client=f"{HOST}:{port}",
                peer=f"{HOST}:{port + 1}",
                command=(
                    *server_command,
                    *("--id", str(i), "--peers", peers, "--data-dir", str(data_dir / str(i))),
                    *server_flags,
                ),
                environment=dict(environment or {}),
                log=str(data_dir / f"{i}.log"),
            )
            for i, port in clients.items()
        }

    @classmethod
    def attach(cls, data_dir: Path) -> Self:
        """The cluster that runs in ``data_dir``, whoever started it."""
        state = StateFile(data_dir).read()
        if state is None:
            raise ClusterError(f"no cluster runs in {data_dir}: start one with kv-cluster up")
        base_port = int(state.nodes[1].client.rpartition(":")[2])
        # The flags are not needed: a node is restarted as the state file says that it was started.
        return cls(data_dir, nodes=len(state.nodes), base_port=base_port)

    # Where to find things

    @property
    def data_dir(self) -> Path:
        return self._file.data_dir

    @property
    def node_ids(self) -> tuple[int, ...]:
        return tuple(self._nodes)

    @property
    def endpoints(self) -> list[str]:
        """Every node's client address, in the order of their ids."""
        return [node.client for node in self._nodes.values()]

    def endpoint(self, node_id: int) -> str:
        return self._known(node_id).client

    def log_path(self, node_id: int) -> Path:
        """Where all output of the node goes, of all its processes."""
        return Path(self._known(node_id).log)

    def node_dir(self, node_id: int) -> Path:
        return self.data_dir / str(self._known(node_id).node_id)

    def supervisor(self) -> Process:
        """The process that started the cluster; it may be dead."""
        return self._state().supervisor

    def process(self, node_id: int) -> Process | None:
        """The node's process, the last one if it is dead."""
        self._known(node_id)
        return self._state().nodes[node_id].process

    def is_alive(self, node_id: int) -> bool:
        process = self.process(node_id)
        return process is not None and self._lives(process)

    def exit_code(self, node_id: int) -> int | None:
        """How the node's last process ended, minus a signal's number if by one; None if unknown to this process."""
        process = self.process(node_id)
        if process is None:
            return None
        self._lives(process)
        return self._exit_codes.get(process)

    # From the first start to the last stop

    def start(self) -> None:
        """Start all nodes; does not wait for them."""
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._file.locked():
            state = self._file.read()
            if state is not None:
                living = [str(i) for i, node in state.nodes.items() if self._runs(node)]
                if living or (is_alive(state.supervisor) and state.supervisor != _this_process()):
                    who = f"nodes {', '.join(living)} live" if living else "its supervisor lives"
                    raise ClusterError(
                        f"a cluster runs in {self.data_dir} already ({who}): "
                        f"stop it with kv-cluster down --data-dir {self.data_dir}"
                    )
            for node in self._nodes.values():
                _require_free(node)
            state = ClusterState(supervisor=_this_process(), nodes=dict(self._nodes))
            # Written after each node, so that no node can be left that nobody knows of.
            for node in self._nodes.values():
                state = state.with_node(_spawned(node))
                self._file.write(state)

    def stop(self, *, timeout_s: float = 10.0) -> tuple[int, ...]:
        """End all nodes and forget the cluster; its data stay. Returns those that did not end in time on their own."""
        with self._file.locked():
            state = self._file.read()
            if state is None:
                return ()
            processes = {i: node.process for i, node in state.nodes.items() if node.process is not None}
            for process in processes.values():
                send(process, signal.SIGTERM)
                send(process, signal.SIGCONT)
            wait_until(lambda: not any(map(self._lives, processes.values())), timeout_s=timeout_s)
            stubborn = tuple(i for i, process in processes.items() if send(process, signal.SIGKILL))
            for i in stubborn:
                self._await_death(processes[i])
            self._file.remove()
            return stubborn

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_serving()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # What can happen to a node

    def kill(self, node_id: int) -> None:
        """SIGKILL: what a crash does."""
        with self._changing(node_id) as node:
            self._await_death(self._signaled(node, signal.SIGKILL))

    def terminate(self, node_id: int, *, timeout_s: float = 10.0) -> None:
        """SIGTERM: the node hands over, ends what is in flight, and exits."""
        with self._changing(node_id) as node:
            process = self._signaled(node, signal.SIGTERM)
            if not wait_until(lambda: not self._lives(process), timeout_s=timeout_s):
                raise ClusterError(f"node {node_id} (process {process.pid}) still lives {timeout_s:g} s after SIGTERM")

    def restart(self, node_id: int, *, environment: Mapping[str, str] | None = None) -> None:
        """Start the node as it was started before; one that runs is stopped first, gently if it can be.

        ``environment`` is added for this one process.
        """
        with self._changing(node_id) as node:
            if node.process is not None and send(node.process, signal.SIGTERM):
                process = node.process
                send(process, signal.SIGCONT)
                if not wait_until(lambda: not self._lives(process), timeout_s=10.0):
                    send(process, signal.SIGKILL)
                    self._await_death(process)
            _require_free(node)
            started = _spawned(replace(node, environment={**node.environment, **(environment or {})}))
            self._file.write(self._state().with_node(replace(started, environment=node.environment)))

    def pause(self, node_id: int) -> None:
        """SIGSTOP: the node holds still, its connections stay open."""
        with self._changing(node_id) as node:
            process = self._signaled(node, signal.SIGSTOP)
            if not wait_until(lambda: is_paused(process) or not self._lives(process), timeout_s=10.0):
                raise ClusterError(f"node {node_id} (process {process.pid}) still runs 10 s after SIGSTOP")

    def resume(self, node_id: int) -> None:
        """SIGCONT: the node goes on, as if no time had passed."""
        with self._changing(node_id) as node:
            if node.process is not None and is_alive(node.process) and not is_paused(node.process):
                raise ClusterError(f"node {node_id} is not paused")
            process = self._signaled(node, signal.SIGCONT)
            wait_until(lambda: not is_paused(process), timeout_s=10.0)

    # Waiting and looking

    def wait_ready(self, *node_ids: int, timeout_s: float = 30.0) -> None:
        """Until each of these nodes (all, if none is named) has logged that it serves clients.

        Raises ClusterError, with the end of the node's log, when one dies or the time is over.
        """
        for node_id in node_ids or self.node_ids:
            self._wait(node_id, self._has_said_ready, "is not ready", timeout_s=timeout_s)

    def wait_serving(self, *node_ids: int, timeout_s: float = 30.0) -> None:
        """Until each of these nodes (all, if none is named) says that it serves, which means that it knows a leader."""

        def serves(node_id: int) -> bool:
            return self._has_said_ready(node_id) and self.health(node_id) is Health.SERVING

        for node_id in node_ids or self.node_ids:
            self._wait(node_id, serves, "does not serve", timeout_s=timeout_s)

    def health(self, node_id: int, *, timeout_s: float = 1.0) -> Health:
        with grpc.insecure_channel(self.endpoint(node_id)) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
            except grpc.RpcError:
                return Health.UNREACHABLE
        serving = answer.status == health_pb2.HealthCheckResponse.SERVING
        return Health.SERVING if serving else Health.NOT_SERVING

    def look(self) -> tuple[NodeLook, ...]:
        """What each node does at this moment."""
        looks = []
        for node_id, node in self._state().nodes.items():
            condition = Condition.DEAD
            if node.process is not None and self._lives(node.process):
                condition = Condition.PAUSED if is_paused(node.process) else Condition.RUNNING
            looks.append(
                NodeLook(
                    node_id=node_id,
                    endpoint=node.client,
                    pid=None if node.process is None or condition is Condition.DEAD else node.process.pid,
                    condition=condition,
                    health=self.health(node_id) if condition is Condition.RUNNING else Health.UNREACHABLE,
                    log=Path(node.log),
                )
            )
        return tuple(looks)

    def log_tail(self, node_id: int) -> str:
        """The last lines that the node's present or last process logged."""
        node = self._state().nodes[node_id]
        lines = _read_from(Path(node.log), offset=node.log_offset).decode(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    # Helpers

    def _state(self) -> ClusterState:
        state = self._file.read()
        if state is None:
            raise ClusterError(f"no cluster runs in {self.data_dir}: start one with kv-cluster up")
        return state

    def _known(self, node_id: int) -> NodeState:
        try:
            return self._nodes[node_id]
        except KeyError:
            known = ", ".join(map(str, self._nodes))
            raise ClusterError(f"there is no node {node_id}: this cluster has nodes {known}") from None

    @contextlib.contextmanager
    def _changing(self, node_id: int) -> Iterator[NodeState]:
        """The node as it is now, while nobody else may change it."""
        self._known(node_id)
        with self._file.locked():
            yield self._state().nodes[node_id]

    def _signaled(self, node: NodeState, number: signal.Signals) -> Process:
        if node.process is None or not send(node.process, number):
            raise ClusterError(f"node {node.node_id} is dead already: kv-cluster restart {node.node_id} starts it")
        return node.process

    def _lives(self, process: Process) -> bool:
        code = reap(process)
        if code is not None:
            self._exit_codes[process] = code
        return is_alive(process)

    def _runs(self, node: NodeState) -> bool:
        return node.process is not None and self._lives(node.process)

    def _await_death(self, process: Process) -> None:
        if not wait_until(lambda: not self._lives(process), timeout_s=30.0):
            raise ClusterError(f"process {process.pid} still lives 30 s after SIGKILL")

    def _has_said_ready(self, node_id: int) -> bool:
        node = self._state().nodes[node_id]
        return READY in _read_from(Path(node.log), offset=node.log_offset)

    def _wait(self, node_id: int, condition: Callable[[int], bool], complaint: str, *, timeout_s: float) -> None:
        if not wait_until(lambda: condition(node_id) or not self.is_alive(node_id), timeout_s=timeout_s):
            raise ClusterError(
                f"node {node_id} {complaint} after {timeout_s:g} s; its log ends:\n{self.log_tail(node_id)}"
            )
        if not self.is_alive(node_id):
            code = self.exit_code(node_id)
            how = (
                "died" if code is None else f"exited with code {code}" if code >= 0 else f"was killed by signal {-code}"
            )
            raise ClusterError(f"node {node_id} {how}; its log ends:\n{self.log_tail(node_id)}")


def _spawned(node: NodeState) -> NodeState:
    """Start the node's process."""
    log = Path(node.log)
    log_offset = log.stat().st_size if log.exists() else 0
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KV_")}
    process = spawn(node.command, log=log, environment={**inherited, **node.environment})
    return replace(node, process=process, log_offset=log_offset)


def _require_free(node: NodeState) -> None:
    """Somebody else's server on our port would answer in the node's place."""
    for address in (node.client, node.peer):
        if not is_free(address):
            raise ClusterError(f"node {node.node_id} cannot use {address}: another process listens there")


def _read_from(path: Path, *, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read()
    except FileNotFoundError:
        return b""


def _this_process() -> Process:
    this = look_at(os.getpid())
    assert this is not None, "this process exists"
    return this
