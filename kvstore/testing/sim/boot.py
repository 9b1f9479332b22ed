"""How a process comes to life: from what its disk holds, the production objects, as the server assembles them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from kvproto.command_pb2 import CommandBatch

from kvstore.mvcc.limits import Limits
from kvstore.mvcc.results import Result
from kvstore.mvcc.store import Store
from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.durable import DurableState, GoverningConfiguration
from kvstore.paxos.effects import Effects
from kvstore.paxos.types import Configuration, NodeId, ReadId, Slot
from kvstore.replica.replica import Replica, ReplicaConfig
from kvstore.storage.codec import decode_value, encode_value
from kvstore.storage.memory_log import MemoryAcceptorLog
from kvstore.testing.sim.disk import SimulatedDisk
from kvstore.testing.sim.state_file import StateFile
from kvstore.testing.sim.watched import WatchedPaxos, WatchedStore

__all__ = ["Booted", "Ears", "ProcessSettings", "boot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSettings:
    """What all processes of a run share; the node's ids are filled in."""

    paxos: PaxosConfig
    replica: ReplicaConfig
    limits: Limits
    inline_commits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ears:
    """Who hears of what the production objects do; ``within_turn`` may raise, and the process dies there."""

    within_turn: Callable[[], None]
    on_apply: Callable[[int, CommandBatch | None, list[Result]], None]
    on_commit: Callable[[int, bytes], None]
    on_confirm: Callable[[ReadId], None]
    on_effects: Callable[[Effects], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    log: MemoryAcceptorLog
    store: WatchedStore
    paxos: WatchedPaxos
    replica: Replica
    recovered: DurableState


def boot(
    node_id: NodeId,
    *,
    settings: ProcessSettings,
    first: Configuration,
    disk: SimulatedDisk,
    state_file: StateFile,
    ears: Ears,
    rng: Random,
    now: float,
) -> Booted:
    log = disk.open()
    store = WatchedStore(
        state_file,
        settings.limits,
        within_turn=ears.within_turn,
        on_apply=ears.on_apply,
        on_commit=ears.on_commit,
    )
    applied_end = Slot(store.applied_end)
    found = log.recover(from_slot=applied_end)
    recovered = DurableState(
        configurations=_governing(store, first),
        promised=found.promised,
        accepted=found.accepted,
        first_slot=found.first_slot,
        decided_end=applied_end,
    )
    paxos = WatchedPaxos(
        replace(settings.paxos, node_id=node_id),
        recovered,
        rng=rng,
        now=now,
        on_confirm=ears.on_confirm,
        on_effects=ears.on_effects,
    )
    replica = Replica(
        replace(settings.replica, node_id=node_id, incarnation=log.identity.incarnation),
        paxos,
        store,
        encode_configurations=_encoded,
    )
    return Booted(log=log, store=store, paxos=paxos, replica=replica, recovered=recovered)


def _governing(store: Store, first: Configuration) -> tuple[GoverningConfiguration, ...]:
    """What the state knows of membership; in a new one, the initial members govern from the first slot on."""
    stored = store.configurations()
    if not stored:
        governing = GoverningConfiguration(Slot(0), first)
        store.begin()
        store.set_configurations(_encoded([governing]))
        store.commit()
        return (governing,)
    known = []
    for from_slot, encoded in stored:
        configuration = decode_value(encoded)
        assert isinstance(configuration, Configuration), f"slot {from_slot} is governed by {configuration}"
        known.append(GoverningConfiguration(Slot(from_slot), configuration))
    return tuple(known)


def _encoded(governing: Sequence[GoverningConfiguration]) -> list[tuple[int, bytes]]:
    return [(one.from_slot, encode_value(one.configuration)) for one in governing]
