"""One node, put together: the disk, the peers, the replica, the API, in the order in which they may come to life.

1. The ports are free, the log is this node's and whole (L11): until here nothing is touched and nobody has heard of us.
2. The peers' port answers who we are; the cluster forms, or has formed before. Only now is there somebody to vote with.
3. The replica recovers from log and state, its loop runs, the links dial, clients are served.

It ends in the reverse order: leadership is handed over, requests in flight end, then links and disks are closed. Where
the loop ends by an exception instead, nothing is ended gently: what this process believes may be wrong.
"""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from random import Random
from typing import Final, NoReturn

from kvproto.command_pb2 import Entry, PublishMember

from kvstore.api import all_methods
from kvstore.mvcc import Store, open_state
from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.core import Paxos
from kvstore.paxos.durable import DurableState, GoverningConfiguration
from kvstore.paxos.effects import Status
from kvstore.paxos.types import Configuration, NodeId, Slot
from kvstore.replica.replica import Replica, ReplicaConfig
from kvstore.replica.writes import Overloaded
from kvstore.server.config import ConfigError, ServerConfig
from kvstore.server.grpc_front import GrpcFront
from kvstore.server.node import Node, WriteUndone
from kvstore.server.node_port import NodePort
from kvstore.server.ports import is_free
from kvstore.server.recognition import disowned
from kvstore.storage import SqliteAcceptorLog
from kvstore.storage.codec import decode_value, encode_value
from kvstore.storage.errors import StorageError
from kvstore.storage.port import Formation as StoredFormation
from kvstore.transport.formation import Formation, FormationRefused, Formed
from kvstore.transport.handshake import Handshake, Lane
from kvstore.transport.hello import form
from kvstore.transport.mesh import Mesh, PeerMemory, Permits, permits_all

__all__ = ["EXIT_FAILED", "FormationFailed", "Server", "publish", "serve"]

logger = logging.getLogger(__name__)

EXIT_FAILED: Final = 1
_ALPHA: Final = PaxosConfig(node_id=NodeId(1)).alpha
_FIRST_EPOCH: Final = 1
_HANDOVER_S: Final = 2.0
_REQUESTS_END_S: Final = 1.5
_LINKS_END_S: Final = 0.5
_PUBLISH_RETRY_S: Final = 0.5


class FormationFailed(Exception):
    """This node can never be part of the cluster that it was told of. The message says why, and what to do."""


async def serve(config: ServerConfig) -> None:
    """Runs a node until SIGTERM or SIGINT. Raises ConfigError, StorageError, StateUnusable at start, FormationFailed.

    Whatever else goes wrong ends the process at once, with status 1.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = Server(config)
    stopping = loop.create_task(stop.wait())
    starting = loop.create_task(server.start())
    try:
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await asyncio.wait((asyncio.ensure_future(server.failure), stopping), return_when=asyncio.FIRST_COMPLETED)
            if server.failure.done():
                if isinstance(failure := server.failure.result(), FormationFailed):
                    raise failure
                _die(failure)
        logger.info("stopping")
    finally:
        for task in (starting, stopping):
            task.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        await server.stop()


class Server:
    """``start`` returns when clients are served; ``failure`` completes when the node has found itself wrong.

    ``permits`` cuts it off from peers (see ``Mesh``).
    """

    def __init__(self, config: ServerConfig, *, permits: Permits = permits_all) -> None:
        self._config = config
        self._permits = permits
        self._rng = Random(int.from_bytes(os.urandom(16), "big"))  # noqa: S311  jitter, no secret
        self._undo = contextlib.AsyncExitStack()
        self._node: Node | None = None
        self._running: asyncio.Task[None] | None = None
        self._crashing = False
        self.failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Raises what ``serve`` raises; ``stop`` must be called in any case."""
        config = self._config
        for flag, address in (("--listen-client", config.listen_client), ("--listen-peer", config.listen_peer)):
            if not is_free(str(address)):
                raise ConfigError(f"{flag}: cannot listen on {address}: is it in use? nothing was touched")
        peers = {node_id: str(address) for node_id, address in config.peers.items()}
        log = SqliteAcceptorLog.open(config.data_dir, node_id=config.node_id, peers=peers, lease_ms=config.lease_ms)
        self._undo.callback(self._close, log)
        connection = open_state(log.directory.state)
        self._undo.callback(connection.close)
        store = Store(connection)

        formation = Formation(
            node_id=config.node_id,
            birth_id=log.identity.birth_id,
            peers=peers,
            settings=f"reads by a lease of {config.lease_ms} ms" if config.lease_ms else "",
            formed=None if log.formation is None else Formed(log.formation.cluster_id, log.formation.births),
        )
        mesh = self._mesh(log, formation)
        self._undo.push_async_callback(lambda: mesh.close(self._grace_s(_LINKS_END_S)))
        with _listening("--listen-peer"):
            await mesh.listen()
        has_formed_before = log.formation is not None
        formed = await self._form(formation, log)
        governing = _governing(store, formed)

        node = self._node = Node(self._replica(log, store, governing), log, mesh, clock=time.monotonic)
        front = GrpcFront(all_methods(NodePort(node, store, cluster_id=formed.cluster_id)))
        node.watch_leadership(lambda change: front.set_serving(change.leader is not None))
        with _listening("--listen-client"):
            front.listen(str(config.listen_client))
        running = self._running = asyncio.get_running_loop().create_task(node.run(), name="node")
        running.add_done_callback(self._node_ended)
        self._undo.push_async_callback(self._end_node, running)
        mesh.join(cluster_id=formed.cluster_id, births=formed.births, addresses=peers)
        if has_formed_before:
            recognizing = asyncio.get_running_loop().create_task(self._recognize(log, peers), name="recognition")
            self._undo.push_async_callback(_cancelled, recognizing)
        await front.start()
        self._undo.push_async_callback(lambda: front.stop(grace_s=self._grace_s(_REQUESTS_END_S)))
        publishing = asyncio.get_running_loop().create_task(publish(self._member(), node, store), name="publish")
        self._undo.push_async_callback(_cancelled, publishing)
        logger.info("ready to serve client requests on %s", config.listen_client)

    async def stop(self) -> None:
        """A leader hands over, requests in flight end, everything is closed. Again: nothing."""
        if self._node is not None and not self.failure.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HANDOVER_S):
                    await self._node.hand_over()
        await self._undo.aclose()

    async def crash(self) -> None:
        """Ends as SIGKILL would end it, for tests in whose process other nodes live on.

        Nobody hands over; what waits is neither sent nor answered nor written. Ports and files are free afterwards.
        """
        self._crashing = True
        if self._running is not None:
            self._running.cancel()
        await self._undo.aclose()

    def status(self) -> Status | None:
        """What the replica says of itself; None before it has recovered."""
        return None if self._node is None else self._node.status()

    # Parts

    def _mesh(self, log: SqliteAcceptorLog, formation: Formation) -> Mesh:
        def introduce(peer: NodeId, lane: Lane) -> Handshake:
            identity = log.identity
            assert identity.cluster_id is not None, "nobody dials before the cluster has formed"
            return Handshake(
                cluster_id=identity.cluster_id,
                node_id=identity.node_id,
                birth_id=identity.birth_id,
                incarnation=identity.incarnation,
                configuration_epoch=self._required_node().status().configuration_epoch,
                log_sequence=log.sequence,
                to_node_id=peer,
                lane=lane,
            )

        memory = PeerMemory(
            stored_sequence=log.peer_sequence,
            store_sequence=lambda node_id, sequence: log.remember_peer(node_id, log_sequence=sequence),
        )
        return Mesh(
            node_id=self._config.node_id,
            incarnation=log.identity.incarnation,
            listen=str(self._config.listen_peer),
            rng=self._rng,
            memory=memory,
            introduce=introduce,
            answer_hello=formation.answer,
            on_messages=lambda sender, messages: self._required_node().receive(sender, messages),
            on_up=lambda peer: self._required_node().link_up(peer),
            on_lost=lambda peer: self._required_node().link_lost(peer),
            permits=self._permits,
        )

    async def _form(self, formation: Formation, log: SqliteAcceptorLog) -> StoredFormation:
        if log.formation is None:
            outcome = await form(formation, rng=self._rng)
            if isinstance(outcome, FormationRefused):
                raise FormationFailed(outcome.reason)
            log.form(
                cluster_id=outcome.cluster_id,
                births=outcome.births,
                peers=formation.peers,
                alpha=_ALPHA,
                lease_ms=self._config.lease_ms,
            )
            formation.stored(outcome)
            logger.info("formed cluster %s of nodes %s", outcome.cluster_id.hex(), ", ".join(map(str, outcome.births)))
        assert log.formation is not None
        return log.formation

    async def _recognize(self, log: SqliteAcceptorLog, peers: dict[NodeId, str]) -> None:
        reason = await disowned(log.identity, peers, rng=self._rng)
        if reason is not None and not self.failure.done():
            self.failure.set_result(FormationFailed(reason))

    def _replica(self, log: SqliteAcceptorLog, store: Store, governing: tuple[GoverningConfiguration, ...]) -> Replica:
        config = self._config
        assert log.formation is not None
        recovered = log.recover(from_slot=Slot(store.applied_end))
        durable = DurableState(
            configurations=governing,
            promised=recovered.promised,
            accepted=recovered.accepted,
            first_slot=recovered.first_slot,
            decided_end=Slot(store.applied_end),
        )
        logger.info(
            "incarnation %d: promised %s, log up to slot %d, applied up to %d",
            log.identity.incarnation,
            recovered.promised,
            recovered.log_end,
            store.applied_end,
        )
        timing = PaxosConfig(
            node_id=config.node_id,
            heartbeat_s=config.heartbeat_ms / 1000,
            election_timeout_s=config.election_timeout_ms / 1000,
            alpha=log.formation.alpha,
        )
        return Replica(
            ReplicaConfig(
                node_id=config.node_id,
                incarnation=log.identity.incarnation,
                retry_s=3 * timing.heartbeat_s,
                resend_s=timing.election_timeout_s,
            ),
            Paxos(timing, durable, rng=self._rng, now=time.monotonic()),
            store,
            encode_configurations=_encoded,
        )

    def _member(self) -> PublishMember:
        config = self._config
        return PublishMember(
            node_id=config.node_id,
            name=f"node{config.node_id}",
            client_urls=[config.advertise_client],
            peer_urls=[f"http://{config.peers[config.node_id]}"],
        )

    # Ends

    def _required_node(self) -> Node:
        assert self._node is not None, "nobody is heard before the cluster has formed"
        return self._node

    def _node_ended(self, running: asyncio.Task[None]) -> None:
        if not running.cancelled() and (error := running.exception()) is not None and not self.failure.done():
            self.failure.set_result(error)

    async def _end_node(self, running: asyncio.Task[None]) -> None:
        self._required_node().stop()
        await asyncio.wait([running])

    def _grace_s(self, grace_s: float) -> float:
        return 0.0 if self._crashing else grace_s

    def _close(self, log: SqliteAcceptorLog) -> None:
        if self._crashing:
            log.abandon()
            return
        stats = log.stats()
        log.close()
        logger.info("stopped: %d commits since the start, %d records in the log", stats.commits, stats.records)


async def publish(me: PublishMember, node: Node, store: Store) -> None:
    """Puts this node's name and addresses into the log, unless the state has them already."""
    await node.linearizable()
    while me not in store.members():
        try:
            await node.write(Entry(publish_member=me))
        except (Overloaded, WriteUndone) as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # the write said what became of it in place of the cancellation
            logger.debug("could not publish this member yet: %s", error)
            await asyncio.sleep(_PUBLISH_RETRY_S)


def _governing(store: Store, formed: StoredFormation) -> tuple[GoverningConfiguration, ...]:
    """What the state knows of membership; in a new one, the initial members govern from the first slot on."""
    stored = store.configurations()
    if not stored:
        voters = tuple(sorted(formed.peers))
        first = GoverningConfiguration(
            Slot(0),
            Configuration(epoch=_FIRST_EPOCH, voters=voters, addresses=dict(formed.peers), lease_ms=formed.lease_ms),
        )
        store.begin()
        store.set_configurations(_encoded([first]))
        store.commit()
        return (first,)
    governing = []
    for from_slot, encoded in stored:
        configuration = decode_value(encoded)
        assert isinstance(configuration, Configuration), f"slot {from_slot} is governed by {configuration}"
        governing.append(GoverningConfiguration(Slot(from_slot), configuration))
    return tuple(governing)


def _encoded(governing: Sequence[GoverningConfiguration]) -> list[tuple[int, bytes]]:
    return [(one.from_slot, encode_value(one.configuration)) for one in governing]


@contextlib.contextmanager
def _listening(flag: str) -> Iterator[None]:
    """Somebody else may take a port after it was found free."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{flag}: {error}") from error


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _die(error: BaseException) -> NoReturn:
    """A replica that has found itself wrong, or its disk, says why and is gone: no handler runs, nothing is flushed."""
    if isinstance(error, StorageError):
        logger.critical("%s", error)
    else:
        logger.critical("the replica stops, because it must not go on wrong", exc_info=error)
    logging.shutdown()
    os._exit(EXIT_FAILED)
