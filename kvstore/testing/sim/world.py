"""A cluster in a box: nodes, network, disks, clients and judges on one virtual clock, all from one seed.

Nothing goes wrong in it by itself. A story steers it by hand (``crash``, ``cut``, ``heal``, ``run_until``); the
simulation lays a plan of faults over it (``kvstore.testing.sim.simulation``). Either way every step is judged, and a
broken law raises ``LawBroken``.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Final

from kvstore.mvcc.limits import Limits
from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.effects import Role
from kvstore.paxos.types import Configuration, NodeId, Slot, Value
from kvstore.replica.replica import ReplicaConfig
from kvstore.testing.checking.decided_log import Command, LoggedSlot
from kvstore.testing.checking.history import History, Recorder
from kvstore.testing.checking.linear_checker import check
from kvstore.testing.checking.model import Model, Range, Response
from kvstore.testing.sim.actions import commands_of
from kvstore.testing.sim.boot import ProcessSettings
from kvstore.testing.sim.clients import Client, ClientLink, SerializableRead
from kvstore.testing.sim.clock import wander
from kvstore.testing.sim.consensus_judge import ConsensusJudge
from kvstore.testing.sim.disk import SimulatedDisk
from kvstore.testing.sim.laws import Broken, LawBroken, Ledger
from kvstore.testing.sim.network import Network, Weather
from kvstore.testing.sim.process import Condition, Process
from kvstore.testing.sim.scheduler import Scheduler
from kvstore.testing.sim.state_file import StateFile
from kvstore.testing.sim.state_judge import StateJudge
from kvstore.testing.sim.trace import Trace

__all__ = ["World", "WorldConfig"]

_BY_HAND: Final = 0
"""The number under which weather made by hand is kept; faults of a plan count from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldConfig:
    """Times in seconds of virtual time. ``latency_s`` and ``commit_s`` are means."""

    nodes: int = 3
    voters: int | None = None
    """How many of the nodes, the first ones, form the cluster; None: all. The others run and belong to nothing yet."""
    heartbeat_s: float = 0.1
    election_timeout_s: float = 1.0
    alpha: int = 64
    inflight_slots_max: int = 16
    page_entries_max: int = 256
    cached_slots_max: int = 64
    pending_max: int = 16384
    batch_entries_max: int = 512
    latency_s: float = 0.001
    commit_s: float = 0.001
    inline_commits: bool = True
    lease_ms: int = 0
    """How long a read lease lasts; 0: reads ask a quorum."""
    clock_drift: float = 0.0
    """By what share two clocks' rates may differ: each wanders within half of it. 0: all are right."""
    checkpoint_chance: float = 0.05
    session_ttl_s: float = 600.0
    limits: Limits = field(default_factory=Limits)

    @property
    def liveness_bound_s(self) -> float:
        """Four election timeouts, each counted as the longest randomized one, by the slowest clock.

        And one lease: what was granted to a leader that is gone, or held back since a restart, delays the first
        election by no more. Later ones it does not: doubt begins after a silence that is longer than a lease.
        """
        return (4 * 2 * self.election_timeout_s + self.lease_ms / 1000) / (1 - self.clock_drift / 2)


class World:
    """``start`` it, then ``step``, ``run_for`` or ``run_until``. All of these raise ``LawBroken``."""

    def __init__(self, seed: int, config: WorldConfig) -> None:
        self.seed = seed
        self.config = config
        self.scheduler = Scheduler()
        self.trace = Trace()
        self.ledger = Ledger()
        self.recorder = Recorder()
        self.node_ids = tuple(NodeId(n) for n in range(1, config.nodes + 1))
        addresses = {node_id: f"node{node_id}:2380" for node_id in self.node_ids}
        voters = self.node_ids[: config.voters]
        first = Configuration(epoch=1, voters=voters, addresses=addresses, lease_ms=config.lease_ms)
        self.consensus = ConsensusJudge(
            self.ledger,
            self.node_ids,
            first,
            alpha=config.alpha,
            inflight_slots_max=config.inflight_slots_max,
            ran_s=lambda node_id: self.processes[node_id].clock.ran_s,
        )
        self.states = StateJudge(self.ledger, self.node_ids, self.consensus, config.limits)
        self.network = Network(
            self.node_ids,
            scheduler=self.scheduler,
            rng=self.rng("network"),
            trace=self.trace,
            latency_s=config.latency_s,
            is_up=lambda node_id: self.processes[node_id].is_up,
            deliver=lambda wire: self.processes[wire.to].deliver(wire),
            link_up=lambda node_id, peer: self.processes[node_id].link_up(peer),
            link_lost=lambda node_id, peer: self.processes[node_id].link_lost(peer),
        )
        settings = _settings(config)
        self.processes = {
            node_id: Process(
                node_id,
                settings=settings,
                first=first,
                scheduler=self.scheduler,
                network=self.network,
                disk=SimulatedDisk(
                    node_id,
                    alpha=config.alpha,
                    peers=addresses,
                    scheduler=self.scheduler,
                    rng=self.rng(f"disk {node_id}"),
                    trace=self.trace,
                    on_durable=self.consensus.durable,
                    commit_s=config.commit_s,
                ),
                state_file=StateFile(self.rng(f"state file {node_id}"), checkpoint_chance=config.checkpoint_chance),
                consensus=self.consensus,
                state_judge=self.states,
                trace=self.trace,
                rng=self.rng(f"process {node_id}"),
            )
            for node_id in self.node_ids
        }
        self.client_link = ClientLink(self.scheduler, self.rng("client link"), latency_s=config.latency_s)
        self.clients: list[Client] = []
        self.serializable: list[SerializableRead] = []
        self._calls = 0
        self._epochs = first.epoch
        self._addresses = addresses

    def rng(self, purpose: str) -> Random:
        """A stream of chance of its own for each purpose, so that one does not disturb the others."""
        return Random(f"{self.seed} {purpose}")  # noqa: S311  a simulation's dice

    # Steering

    def start(self) -> None:
        """All nodes start, in a world without faults."""
        drift, each_s = self.config.clock_drift / 2, self.config.election_timeout_s
        with self.judged():
            for node_id, process in self.processes.items():
                process.start()
                if drift:
                    rng = self.rng(f"clock {node_id}")
                    wander(self.scheduler, rng, process.set_clock_rate, drift=drift, each_s=each_s)

    def step(self) -> bool:
        """The next happening; False where nothing is left to happen."""
        with self.judged():
            return self.scheduler.step()

    def run_for(self, seconds: float) -> None:
        self.run_until(lambda: False, within_s=seconds)

    def run_until(self, done: Callable[[], bool], *, within_s: float) -> bool:
        """Runs until ``done``, looked at after every happening; False where the time was over first."""
        end = self.scheduler.now + within_s
        with self.judged():
            while not done():
                next_at = self.scheduler.next_at
                if next_at is None or next_at > end:
                    self.scheduler.now = end
                    return done()
                self.scheduler.step()
        return True

    def crash(self, node_id: int, *, power_lost: bool = False) -> None:
        with self.judged():
            self.processes[NodeId(node_id)].kill("by hand", power_lost=power_lost)

    def restart(self, node_id: int) -> None:
        with self.judged():
            self.processes[NodeId(node_id)].start()

    def reconfigure(self, node_id: int, *, voters: Iterable[int], learners: Iterable[int] = ()) -> None:
        """The node proposes another configuration, if it leads and has room for a proposal then."""
        self._epochs += 1
        configuration = Configuration(
            epoch=self._epochs,
            voters=tuple(sorted(map(NodeId, voters))),
            learners=tuple(sorted(map(NodeId, learners))),
            addresses=self._addresses,
            lease_ms=self.config.lease_ms,
        )
        self.processes[NodeId(node_id)].propose_configuration(configuration)

    def pause(self, node_id: int) -> None:
        self.processes[NodeId(node_id)].pause()

    def resume(self, node_id: int) -> None:
        with self.judged():
            self.processes[NodeId(node_id)].resume()

    def cut(self, sender: int, to: int) -> None:
        """What ``sender`` sends no longer reaches ``to``; the other direction is another matter."""
        self.network.lay(_BY_HAND, NodeId(sender), NodeId(to), Weather(cut=True))

    def cut_both(self, one: int, other: int) -> None:
        self.cut(one, other)
        self.cut(other, one)

    def isolate(self, node_id: int) -> None:
        for other in self.node_ids:
            if other != node_id:
                self.cut_both(node_id, other)

    def partition(self, *groups: Iterable[int]) -> None:
        """Nodes of different groups no longer hear each other."""
        parts = [tuple(group) for group in groups]
        for part in parts:
            for other in parts:
                if other is not part:
                    for sender in part:
                        for to in other:
                            self.cut(sender, to)

    def connect_only(self, lanes: Iterable[tuple[int, int]]) -> None:
        """Of all lanes (sender, to) exactly these are not cut by hand."""
        self.heal()
        kept = dict.fromkeys(lanes)
        for sender, to in self.network.lanes:
            if (sender, to) not in kept:
                self.cut(sender, to)

    def heal(self) -> None:
        """Takes back what was cut by hand."""
        with self.judged():
            self.network.clear(_BY_HAND)

    # Clients

    def client(self, name: str, *, nodes: Sequence[NodeId] = ()) -> Client:
        """A client without a script yet: ``client.run(script)``."""
        client = Client(
            name=name,
            nodes=nodes or self.node_ids,
            rng=self.rng(f"client {name}"),
            scheduler=self.scheduler,
            trace=self.trace,
            recorder=self.recorder,
            link=self.client_link,
            next_call=self._next_call,
            deliver=lambda call: self.processes[call.node].call(call),
            cancel=lambda call: self.processes[call.node].cancel(call),
            serializable=self.serializable,
        )
        self.clients.append(client)
        return client

    def _next_call(self) -> int:
        self._calls += 1
        return self._calls

    # Looking

    @property
    def up(self) -> list[NodeId]:
        return [node_id for node_id, process in self.processes.items() if process.is_up]

    def leaders(self) -> list[NodeId]:
        """Who runs and believes to lead."""
        return [
            node_id
            for node_id, process in self.processes.items()
            if process.condition is Condition.RUNNING and process.status().role is Role.LEADER
        ]

    def leader(self) -> NodeId | None:
        """The leader of the highest ballot, if anyone leads."""
        return max(self.leaders(), key=lambda n: self.processes[n].status().ballot, default=None)

    def caught_up(self, nodes: Iterable[NodeId]) -> bool:
        """Whether each of ``nodes`` runs and has applied all that is chosen anywhere."""
        end = self.consensus.chosen_end
        return end == self.consensus.decided_end and all(
            self.processes[node_id].condition is Condition.RUNNING and self.states.applied_end(node_id) == end
            for node_id in nodes
        )

    # The clients' histories

    def history(self) -> History:
        return self.recorder.history()

    def logs(self) -> dict[Hashable, list[LoggedSlot]]:
        """What each replica ever decided, slot by slot."""
        logged: dict[Slot, list[tuple[Value, LoggedSlot]]] = {}
        applied_end = max(map(self.states.applied_end, self.node_ids))
        logs: dict[Hashable, list[LoggedSlot]] = {}
        for node_id, decided in self.consensus.logs.items():
            logs[node_id] = log = []
            for slot in sorted(decided):
                if slot >= applied_end and slot not in self.states.results:
                    continue  # decided in the last moment, and applied by nobody yet
                same_slot = logged.setdefault(slot, [])
                found = next((one for value, one in same_slot if value == decided[slot]), None)
                if found is None:
                    found = (slot, self._commands_of(slot, decided[slot]))
                    same_slot.append((decided[slot], found))
                log.append(found)
        return logs

    def _commands_of(self, slot: Slot, value: Value) -> tuple[Command, ...]:
        return commands_of(
            value,
            self.states.results.get(slot, []),
            is_repeated=lambda index, entry: self.states.is_repeated(slot, index, entry),
            is_internal=self.states.is_internal,
        )

    def check_histories(self) -> None:
        """Linearizable, and every serializable read tells the whole truth at its revision. Raises LawBroken."""
        with self.judged():
            logs = self.logs()
            verdict = check(self.history(), logs)
            self.ledger.checked["linearizable"] += len(self.history().operations)
            if not verdict.ok:
                self.ledger.broken("linearizable", str(verdict))
            self._check_serializable(logs)

    def _check_serializable(self, logs: dict[Hashable, list[LoggedSlot]]) -> None:
        wanted = {read.response.revision: None for read in self.serializable}
        found: dict[tuple[int, Range], Response] = {}
        model = Model()
        actions = dict.fromkeys(read.action for read in self.serializable)
        slots = {slot: commands for log in logs.values() for slot, commands in log}
        answered: dict[tuple[int, int], None] = {}

        def look() -> None:
            if model.revision in wanted:
                for action in actions:
                    found[model.revision, action] = model.apply(action).response

        look()
        for slot in sorted(slots):
            for command in slots[slot]:
                identity = (command.session, command.sequence)
                if command.refused or not hasattr(command.action, "key") or (command.session and identity in answered):
                    continue
                answered[identity] = None
                model.apply(command.action)  # type: ignore[arg-type]
                look()
        for read in self.serializable:
            self.ledger.checked["linearizable"] += 1
            expected = found.get((read.response.revision, read.action))
            if expected is None or not read.response.matches(expected):
                self.ledger.broken("linearizable", f"a serializable read got {read}; at that revision: {expected}")

    @contextmanager
    def judged(self) -> Iterator[None]:
        """What is broken within becomes a LawBroken, with the seed and the last events."""
        try:
            yield
        except Broken as broken:
            raise self._law_broken(broken.law, broken.detail) from broken
        except LawBroken:
            raise
        except Exception as error:  # whatever it is, it would have ended the process
            raise self._law_broken("invariants", f"{type(error).__name__}: {error}") from error

    def _law_broken(self, law: str, detail: str) -> LawBroken:
        return LawBroken(law, detail, seed=self.seed, at=self.scheduler.now, events=self.trace.last)


def _settings(config: WorldConfig) -> ProcessSettings:
    nobody = NodeId(1)  # each process fills its own number in
    return ProcessSettings(
        paxos=PaxosConfig(
            node_id=nobody,
            heartbeat_s=config.heartbeat_s,
            election_timeout_s=config.election_timeout_s,
            alpha=config.alpha,
            inflight_slots_max=config.inflight_slots_max,
            page_entries_max=config.page_entries_max,
            cached_slots_max=config.cached_slots_max,
        ),
        replica=ReplicaConfig(
            node_id=nobody,
            incarnation=1,
            retry_s=3 * config.heartbeat_s,
            session_ttl_s=config.session_ttl_s,
            pending_max=config.pending_max,
            batch_entries_max=config.batch_entries_max,
        ),
        limits=config.limits,
        inline_commits=config.inline_commits,
    )
