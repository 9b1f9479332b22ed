"""A real cluster inside this process, for tests that hurt it: started in a moment, gone without a trace.

Every node is a whole one: its own log and state on disk, its ports on the loopback interface, the same code as in
``kv-server``. What they share is the interpreter: one thread runs the event loop of all nodes, and the methods below,
called from any other thread, work through it. The clocks are short, so that a lost leader is replaced in a fraction of
a second.

What is not real, because nodes share a process: a node that stalls (a slow disk, a long computation) stalls them all,
and they all die with the process. For such stories there is ``kvstore.server.local_cluster``, with a process a node.

This is the one module of ``kvstore.testing`` that knows ``kvstore.server``.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from kvstore.paxos.effects import Role
from kvstore.paxos.types import NodeId
from kvstore.server.assembly import Server
from kvstore.server.config import ConfigError, ServerConfig
from kvstore.server.ports import HOST, PORTS_A_NODE, free_base_port
from kvstore.testing.in_process.loop_thread import LoopThread

__all__ = ["ClusterError", "InProcessCluster", "NodeFailed"]

HEARTBEAT_MS: Final = 20
ELECTION_TIMEOUT_MS: Final = 200
_NODES_MAX: Final = 9
_START_ATTEMPTS: Final = 5
_WAIT_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.005

T = TypeVar("T")


class ClusterError(Exception):
    """The cluster cannot do what was asked: the message says why."""


class NodeFailed(ClusterError):
    """A node found itself wrong, and stopped. As a process it would have exited; the cause is attached."""


@dataclass(slots=True)
class _Member:
    config: ServerConfig
    server: Server | None = None


class InProcessCluster:
    """``nodes`` nodes, numbered from 1. Not to be used from within an event loop that must go on: methods block.

    Used as a context manager it starts, waits until every node knows a leader, and stops at the end. The data live in
    ``data_dir``, which is created or was empty and which ``stop`` leaves for the next ``start``; or else in a temporary
    directory that ``stop`` removes. A node that is killed stays dead until it is restarted. Raises ClusterError where a
    node is not there or not in the state that is needed, and NodeFailed where one has found itself wrong.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        nodes: int = 3,
        heartbeat_ms: int = HEARTBEAT_MS,
        election_timeout_ms: int = ELECTION_TIMEOUT_MS,
    ) -> None:
        if not 1 <= nodes <= _NODES_MAX:
            raise ClusterError(f"an in-process cluster has from 1 to {_NODES_MAX} nodes, not {nodes}")
        self._given_dir = data_dir
        self._node_ids = tuple(NodeId(number) for number in range(1, nodes + 1))
        self._heartbeat_ms = heartbeat_ms
        self._election_timeout_ms = election_timeout_ms
        self._base_port: int | None = None
        self._members: dict[NodeId, _Member] = {}
        self._failures: list[tuple[NodeId, BaseException]] = []
        self._falls: set[asyncio.Future[None]] = set()
        self._cut: set[tuple[NodeId, NodeId]] = set()
        self._loop: LoopThread | None = None
        self._scratch: Path | None = None

    # From the first start to the last stop

    def start(self) -> None:
        """Returns when every node serves clients and knows a leader."""
        if self._loop is not None:
            raise ClusterError("the cluster runs already")
        self._loop = LoopThread("in-process cluster")
        try:
            if self._given_dir is None:
                self._scratch = Path(tempfile.mkdtemp(prefix="kv-cluster-"))
            elif self._base_port is None and self._given_dir.exists() and any(self._given_dir.iterdir()):
                raise ClusterError(f"{self._given_dir} is not empty: a new cluster needs a directory of its own")
            self._do(self._start_all())
            self.wait_serving()
        except BaseException:
            self._end()
            raise

    def stop(self) -> None:
        """Ends all nodes. Raises NodeFailed where one has found itself wrong meanwhile. Again: nothing."""
        self._end()
        failures, self._failures = self._failures, []
        _raise_first(failures)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Where to find things

    @property
    def node_ids(self) -> tuple[int, ...]:
        return self._node_ids

    @property
    def endpoints(self) -> list[str]:
        """Every node's client address, in the order of their ids."""
        return [str(member.config.listen_client) for member in self._running_members().values()]

    def endpoint(self, node_id: int) -> str:
        return str(self._member(node_id).config.listen_client)

    @property
    def data_dir(self) -> Path:
        """Where the nodes keep their data, each in a directory named after its id."""
        found = self._given_dir or self._scratch
        if found is None:
            raise ClusterError("the cluster does not run")
        return found

    def is_alive(self, node_id: int) -> bool:
        return self._member(node_id).server is not None

    # What can happen to a node

    def kill(self, node_id: int) -> None:
        """What SIGKILL does: nothing is handed over, flushed or answered; what was durable is there at a restart."""
        member = self._member(node_id)

        async def kill() -> None:
            server, member.server = member.server, None
            if server is None:
                raise ClusterError(f"node {node_id} is dead already: restart it first")
            await server.crash()

        self._do(kill())

    def restart(self, node_id: int) -> None:
        """Starts the node again from its disk; one that lives is stopped gently first. Returns when it serves clients.

        It may not have caught up, nor know a leader: ``wait_serving`` waits for that.
        """
        member = self._member(node_id)

        async def restart() -> None:
            server, member.server = member.server, None
            if server is not None:
                await server.stop()
            await self._start_one(member)

        self._do(restart())

    # What can happen between nodes

    def partition(self, *groups: int | Iterable[int], one_way: bool = False) -> None:
        """Cuts every two nodes of different groups off from each other, until ``heal``.

        ``partition(1, {2, 3})`` isolates node 1. ``one_way``: only what a group would say to a later one is lost, so
        ``partition(1, 2, one_way=True)`` lets node 1 hear node 2, but not the reverse. Further calls cut further
        links. A node in no group keeps its links. Messages are lost in silence; connections stay open.
        """
        sets = [self._group(group) for group in groups]
        if len(sets) < 2:
            raise ClusterError("a partition needs at least two groups of nodes")
        for one, other in combinations(sets, 2):
            if common := sorted(one & other):
                raise ClusterError(f"node {common[0]} is in two groups")
        cut = {(a, b) for one, other in combinations(sets, 2) for a in one for b in other}
        if not one_way:
            cut |= {(b, a) for a, b in cut}

        async def apply() -> None:
            self._cut |= cut

        self._do(apply())

    def heal(self) -> None:
        """Every node reaches every other again."""

        async def apply() -> None:
            self._cut.clear()

        self._do(apply())

    # Waiting and looking

    def leader(self, *, timeout_s: float = _WAIT_S) -> int:
        """The node that leads a majority, as soon as there is one: it says so, and a majority that hears it agrees.

        A leader that has been cut off from the majority is none, even while it does not know yet.
        """
        return self._do(self._until(self._find_leader, timeout_s, "no node leads a majority"))

    def wait_serving(self, *node_ids: int, timeout_s: float = _WAIT_S) -> None:
        """Until each of these nodes (all that live, if none is named) knows a leader."""
        for node_id in node_ids:
            if not self.is_alive(node_id):
                raise ClusterError(f"node {node_id} is dead: restart it first")

        def served() -> bool:
            members = {NodeId(node_id): self._members[NodeId(node_id)] for node_id in node_ids} or self._members
            return all(_knows_leader(member.server) for member in members.values() if member.server is not None)

        self._do(self._until(served, timeout_s, "not every node knows a leader"))

    # In the loop's thread

    async def _start_all(self) -> None:
        """Somebody else may take a port after it was found free: then a new cluster begins anew with other ports."""
        attempts_left = _START_ATTEMPTS if self._base_port is None else 1
        while True:
            attempts_left -= 1
            base_port = self._base_port or free_base_port(nodes=len(self._node_ids))
            self._members = self._configured(base_port)
            starts = [asyncio.ensure_future(self._start_one(member)) for member in self._members.values()]
            try:
                await asyncio.gather(*starts)
            except BaseException as error:
                for start in starts:
                    start.cancel()
                await asyncio.gather(*starts, return_exceptions=True)
                await self._crash_all()
                if not isinstance(error, ConfigError) or not attempts_left:
                    raise
                for member in self._members.values():  # nodes remember where their peers were
                    shutil.rmtree(member.config.data_dir, ignore_errors=True)
            else:
                self._base_port = base_port
                return

    def _configured(self, base_port: int) -> dict[NodeId, _Member]:
        clients = {node_id: base_port + PORTS_A_NODE * (node_id - 1) for node_id in self._node_ids}
        peers = ",".join(f"{node_id}={HOST}:{port + 1}" for node_id, port in clients.items())
        return {
            node_id: _Member(
                ServerConfig.build(
                    node_id=node_id,
                    peers=peers,
                    listen_client=f"{HOST}:{port}",
                    listen_peer=None,
                    advertise_client=None,
                    data_dir=str(self.data_dir / str(node_id)),
                    heartbeat_ms=self._heartbeat_ms,
                    election_timeout_ms=self._election_timeout_ms,
                )
            )
            for node_id, port in clients.items()
        }

    async def _start_one(self, member: _Member) -> None:
        server = member.server = Server(member.config, permits=self._permits)
        server.failure.add_done_callback(lambda failure: self._fell(member, server, failure.result()))
        try:
            await server.start()
        except BaseException:
            member.server = None
            await server.crash()
            raise

    def _fell(self, member: _Member, server: Server, cause: BaseException) -> None:
        self._failures.append((member.config.node_id, cause))
        if member.server is server:
            member.server = None
            fall = asyncio.ensure_future(server.crash())
            self._falls.add(fall)
            fall.add_done_callback(self._falls.discard)

    def _permits(self, sender: NodeId, receiver: NodeId) -> bool:
        return (sender, receiver) not in self._cut

    def _find_leader(self) -> int | None:
        looks = {i: m.server.status() for i, m in self._members.items() if m.server is not None}
        for node_id, look in looks.items():
            if look is None or look.role is not Role.LEADER:
                continue
            agree = [
                other
                for other, seen in looks.items()
                if seen is not None
                and seen.leader == node_id
                and self._permits(node_id, other)
                and self._permits(other, node_id)
            ]
            if len(agree) > len(self._members) // 2:
                return node_id
        return None

    async def _until(self, look: Callable[[], T | None], timeout_s: float, complaint: str) -> T:
        """What ``look`` returns once that is true."""
        deadline = time.monotonic() + timeout_s
        while True:
            _raise_first(self._failures)
            if found := look():
                return found
            if time.monotonic() > deadline:
                raise ClusterError(f"{complaint} after {timeout_s:g} s")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _crash_all(self) -> None:
        servers = [member.server for member in self._members.values() if member.server is not None]
        for member in self._members.values():
            member.server = None
        await asyncio.gather(*self._falls, *(server.crash() for server in servers))

    # Helpers

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            work.close()
            raise ClusterError("the cluster does not run")
        return self._loop.run(work)

    def _end(self) -> None:
        """Nodes that end together have nobody to hand over to, so all crash: that is quick, and nothing is lost."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        try:
            loop.run(self._crash_all())
        finally:
            loop.stop()
            self._members = {}
            self._cut.clear()
            if self._scratch is not None:
                shutil.rmtree(self._scratch, ignore_errors=True)
                self._scratch = self._base_port = None

    def _running_members(self) -> dict[NodeId, _Member]:
        if not self._members:
            raise ClusterError("the cluster does not run")
        return self._members

    def _member(self, node_id: int) -> _Member:
        members = self._running_members()
        if NodeId(node_id) not in members:
            known = ", ".join(map(str, members))
            raise ClusterError(f"there is no node {node_id}: this cluster has nodes {known}")
        return members[NodeId(node_id)]

    def _group(self, group: int | Iterable[int]) -> frozenset[NodeId]:
        numbers = (group,) if isinstance(group, int) else tuple(group)
        return frozenset(self._member(number).config.node_id for number in numbers)


def _knows_leader(server: Server) -> bool:
    status = server.status()
    return status is not None and status.leader is not None


def _raise_first(failures: list[tuple[NodeId, BaseException]]) -> None:
    for node_id, cause in failures:
        raise NodeFailed(f"node {node_id} found itself wrong and stopped: {cause}") from cause
