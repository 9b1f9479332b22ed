"""One run from one seed: safety while faults strike, then liveness once they have stopped.

**Safety.** Clients work and a plan of faults is carried out, for a while. Every law is judged at every step.

**Liveness.** Then the faults end, in one of two forms, drawn from the seed. *Whole*: everything is put right, and every
member must take part again. *Core*: a random majority becomes whole and well connected, while all others stay crashed,
paused or cut off, in one direction or both; the core must go on without them. Within ``WorldConfig.liveness_bound_s``
all nodes concerned must have applied all that is chosen, a new write through each of them must be answered, and all
that clients ever asked of these processes must be settled. At the end the clients' histories are checked.

In a quarter of the runs the cluster reads by leases. Safety leans on clocks there (L14): none jumps, and all drift all
the time, as far from each other as they may.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from kvstore.mvcc.limits import Limits
from kvstore.paxos.effects import Role
from kvstore.paxos.types import ZERO_BALLOT, Ballot, NodeId
from kvstore.testing.sim.clients import Client, probe, worker
from kvstore.testing.sim.events import Event, LeadershipChanged, PhaseBegan
from kvstore.testing.sim.faults import Fault, FaultKind, draw_plan
from kvstore.testing.sim.laws import LawBroken
from kvstore.testing.sim.nemesis import Nemesis
from kvstore.testing.sim.network import Weather
from kvstore.testing.sim.unlearnable import who_must_forget
from kvstore.testing.sim.world import World, WorldConfig

__all__ = ["Report", "Simulation", "SimulationConfig"]

_LEASES_CHANCE: Final = 0.25
_CLOCK_DRIFT: Final = 0.1
"""That of two clocks where leases are used: as much as the configuration of the nodes allows for."""

_OUTSIDE: Final = -1
"""The number of the weather that keeps a core apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationConfig:
    """What a run is made of besides its seed; ``draw`` makes one from a seed."""

    world: WorldConfig
    plan: tuple[Fault, ...]
    safety_s: float
    clients: int
    keys: int
    think_s: float
    core_only: bool = False

    @classmethod
    def draw(
        cls, seed: int, *, nodes: Sequence[int] = (3, 5, 5, 7), kinds: Iterable[FaultKind] = FaultKind
    ) -> "SimulationConfig":
        """``nodes``: the sizes to choose from. ``kinds``: the faults there may be."""
        rng = Random(f"{seed} configuration")  # noqa: S311  a simulation's dice
        allowed = tuple(kinds)
        kinds = tuple(kind for kind in FaultKind if kind in allowed)  # in one order, however they were given
        changes_members = FaultKind.MEMBERSHIP in kinds and (len(kinds) == 1 or rng.random() < 0.3)
        if not changes_members:
            kinds = tuple(kind for kind in kinds if kind is not FaultKind.MEMBERSHIP)
        world = _draw_world(rng, rng.choice(list(nodes)), changes_members=changes_members)
        if kinds != (FaultKind.CLOCK_JUMP,) and Random(f"{seed} leases").random() < _LEASES_CHANCE:  # noqa: S311
            kinds = tuple(kind for kind in kinds if kind is not FaultKind.CLOCK_JUMP)
            world = replace(world, lease_ms=_lease_ms(world), clock_drift=_CLOCK_DRIFT)
        safety_s = world.election_timeout_s * rng.uniform(16.0, 24.0)
        clients = rng.randint(4, 10)
        return cls(
            world=world,
            plan=draw_plan(
                rng,
                nodes=tuple(NodeId(n) for n in range(1, world.nodes + 1)),
                kinds=kinds,
                end_s=safety_s,
                timeout_s=world.election_timeout_s,
                clock_drift=world.clock_drift,
            ),
            safety_s=safety_s,
            clients=clients,
            keys=rng.choice((2, 5, 12)),
            think_s=clients * safety_s / rng.choice((400.0, 600.0, 900.0)),
            core_only=world.inline_commits and not changes_members and rng.random() < 0.3,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run that broke no law amounts to. ``events`` are deliveries, commits and timers."""

    seed: int
    nodes: int
    core: tuple[NodeId, ...]
    """Who had to go on after the heal: all nodes, or a core."""
    events: int
    counts: dict[str, int]
    operations: int
    answered: int
    decided: int
    leader_changes: int
    faults: dict[FaultKind, int]
    checked: dict[str, int]
    simulated_s: float
    lease_ms: int
    """0: reads asked a quorum."""
    lease_reads: int
    """Reads that were answered by a lease, without a quorum's confirmation."""
    recovered_s: float
    """From the heal until everything was decided, applied and answered."""


@dataclass(slots=True)
class _Leaders:
    """Listens for ballots that come to lead."""

    ballots: list[Ballot] = field(default_factory=lambda: [ZERO_BALLOT])

    def hear(self, event: Event) -> None:
        if isinstance(event, LeadershipChanged) and event.role is Role.LEADER and event.ballot not in self.ballots:
            self.ballots.append(event.ballot)

    @property
    def changes(self) -> int:
        return max(0, len(self.ballots) - 2)


class Simulation:
    def __init__(self, seed: int, config: SimulationConfig | None = None) -> None:
        """Everything is drawn from ``seed`` but what ``config`` fixes. Nothing happens before the first ``step``."""
        self.seed = seed
        self.config = config or SimulationConfig.draw(seed)
        self.world = World(seed, self.config.world)
        self.trace = self.world.trace
        self.nemesis = Nemesis(self.world, self.config.plan)
        self.core: tuple[NodeId, ...] = ()
        """Empty before the heal."""
        self._rng = self.world.rng("simulation")
        self._workers: list[Client] = []
        self._probes: list[Client] = []
        self._leaders = _Leaders()
        self.trace.subscribe(self._leaders.hear)
        self._begun = False
        self._healed_at = 0.0
        self._recovered_s: float | None = None

    def run(self) -> Report:
        """To the end. Raises LawBroken."""
        while self.step():
            pass
        return self.report()

    def step(self) -> bool:
        """The next happening takes place, or the next phase begins; False once the run has ended. Raises LawBroken."""
        if not self._begun:
            self._begin()
            return True
        if not self.core:
            if self._next_at() > self.config.safety_s:
                self.world.scheduler.now = self.config.safety_s
                self._heal()
            else:
                self.world.step()
            return True
        if self._recovered_s is not None:
            return False
        if self._has_recovered():
            self._recovered_s = self.world.scheduler.now - self._healed_at
            self.world.ledger.checked["liveness"] += 1
            self.world.check_histories()
            return False
        if self._next_at() > self._healed_at + self.config.world.liveness_bound_s:
            raise LawBroken(
                "liveness", self._what_is_missing(), seed=self.seed, at=self.world.scheduler.now, events=self.trace.last
            )
        self.world.step()
        return True

    def report(self) -> Report:
        """Of a run that has ended."""
        assert self._recovered_s is not None, "the run has not ended"
        counts = dict(self.trace.counts)
        workers = [client for client in self.world.clients if client not in self._probes]
        return Report(
            seed=self.seed,
            nodes=self.config.world.nodes,
            core=self.core,
            events=sum(counts.get(name, 0) for name in ("MessageDelivered", "CommitPersisted", "TimerFired")),
            counts=counts,
            operations=len(self.world.history().operations) + len(self.world.serializable),
            answered=sum(client.answered for client in workers) + len(self.world.serializable),
            decided=self.world.consensus.decided_end,
            leader_changes=self._leaders.changes,
            faults=self.nemesis.fired,
            checked=self.world.ledger.checked,
            simulated_s=self.world.scheduler.now,
            lease_ms=self.config.world.lease_ms,
            lease_reads=self.world.consensus.leases.reads,
            recovered_s=self._recovered_s,
        )

    # Phases

    def _begin(self) -> None:
        self._begun = True
        self.trace.emit(PhaseBegan(0.0, "safety"))
        self.world.start()
        self.nemesis.begin()
        timeout_s = self.config.world.election_timeout_s
        for number in range(1, self.config.clients + 1):
            client = self.world.client(f"client{number}")
            self._workers.append(client)
            client.run(
                worker(
                    client,
                    sessions=self._rng.random() < 0.6,
                    keys=self.config.keys,
                    think_s=self.config.think_s,
                    timeout_s=timeout_s * self._rng.uniform(0.3, 2.0),
                )
            )

    def _heal(self) -> None:
        self._healed_at = self.world.scheduler.now
        self.trace.emit(PhaseBegan(self._healed_at, "liveness"))
        for client in self._workers:
            client.stopping = True
        nodes = self.world.node_ids
        if self.config.core_only:
            self.core = tuple(sorted(self._rng.sample(nodes, self._rng.randint(len(nodes) // 2 + 1, len(nodes)))))
        else:
            self.core = nodes
        outside = tuple(node_id for node_id in nodes if node_id not in self.core)
        with self.world.judged():
            self.nemesis.end_all()
            self._take_back_what_nobody_can_learn()
            self._keep_apart(outside)
            for node_id in self.core:
                client = self.world.client(f"probe{node_id}")
                self._probes.append(client)
                client.run(probe(client, node_id, timeout_s=self.config.world.election_timeout_s))

    def _take_back_what_nobody_can_learn(self) -> None:
        """Where commits are inline there is nothing: no state is ahead of its log."""
        if self.config.world.inline_commits:
            return
        world = self.world
        ends = {node_id: world.states.applied_end(node_id) for node_id in world.node_ids}
        members = world.consensus.members()
        for node_id in who_must_forget(ends, members=members, has=lambda n, slot: world.processes[n].disk.has(slot)):
            world.processes[node_id].forget_state()

    def _keep_apart(self, outside: tuple[NodeId, ...]) -> None:
        """Whoever does not belong to the core stays away from it, each in its own way."""
        for node_id in outside:
            process = self.world.processes[node_id]
            way = self._rng.choice(("down", "paused", "deaf", "mute", "cut off"))
            if way == "down":
                process.kill("outside the core", power_lost=self._rng.random() < 0.5)
            elif way == "paused":
                process.pause()
            for member in self.core:
                if way != "mute":
                    self.world.network.lay(_OUTSIDE, member, node_id, Weather(cut=True))
                if way != "deaf":
                    self.world.network.lay(_OUTSIDE, node_id, member, Weather(cut=True))

    def _has_recovered(self) -> bool:
        concerned = self._concerned()
        return (
            all(client.done for client, node_id in zip(self._probes, self.core, strict=True) if node_id in concerned)
            and self.world.caught_up(concerned)
            and all(self.world.processes[node_id].owed == 0 for node_id in concerned)
        )

    def _concerned(self) -> tuple[NodeId, ...]:
        """Who must take part: who belongs to the core and, by now, to the cluster."""
        members = self.world.consensus.members()
        return tuple(node_id for node_id in self.core if node_id in members)

    def _what_is_missing(self) -> str:
        states = ", ".join(
            f"node {node_id} {process.condition.value}"
            + (f" {process.status()} applied_end={self.world.states.applied_end(node_id)}" if process.is_up else "")
            for node_id, process in self.world.processes.items()
        )
        waiting = [client.name for client in self._probes if not client.done]
        owed = {node_id: process.owed for node_id, process in self.world.processes.items() if process.owed}
        consensus = self.world.consensus
        return (
            f"{self.config.world.liveness_bound_s:g} s after the heal: core {self.core}, unanswered {waiting}, "
            f"requests that nobody settled: {owed}, "
            f"chosen below {consensus.chosen_end}, decided below {consensus.decided_end}; {states}"
        )

    def _next_at(self) -> float:
        next_at = self.world.scheduler.next_at
        return float("inf") if next_at is None else next_at


def _lease_ms(world: WorldConfig) -> int:
    """As the server chooses it."""
    return round(world.election_timeout_s * 1000) // 2


def _draw_world(rng: Random, nodes: int, *, changes_members: bool) -> WorldConfig:
    election_timeout_s = rng.choice((0.3, 0.5, 1.0))
    alpha = rng.choice((2, 4, 16, 64))
    world = WorldConfig(
        nodes=nodes,
        voters=rng.randint((nodes + 1) // 2, nodes) if changes_members else None,
        heartbeat_s=election_timeout_s / rng.choice((4, 6, 10)),
        election_timeout_s=election_timeout_s,
        alpha=alpha,
        inflight_slots_max=rng.randint(1, alpha),
        page_entries_max=rng.choice((1, 2, 256)),
        cached_slots_max=rng.choice((1, 4, 16, 64)),
        pending_max=rng.choice((2, 8, 16384)),
        batch_entries_max=rng.choice((1, 4, 512)),
        latency_s=rng.choice((0.0003, 0.001, 0.003)),
        commit_s=rng.choice((0.0005, 0.002, 0.005)),
        inline_commits=rng.random() < 0.6,
        checkpoint_chance=rng.choice((0.01, 0.1)),
        # Far longer than a run, or so short that sessions expire whose clients wait too long.
        session_ttl_s=rng.choice((600.0, 600.0, 4 * election_timeout_s)),
        limits=Limits(
            # One for each node's own use and each client, or fewer: then they push each other out.
            sessions_max=rng.choice((nodes + 4, nodes + 11, 10_000)),
            answers_per_session_max=rng.choice((2, 8, 4096)),
            answer_bytes_per_session_max=rng.choice((100, 4 * 1024 * 1024)),
        ),
    )
    if 1 in (world.page_entries_max, world.inflight_slots_max):
        # Where all states were lost, everything is found in phase 1 and proposed again: some two hundred slots, a round
        # trip for each of them, twice. No protocol does that within the bound where the network is too slow for it.
        return replace(world, latency_s=min(world.latency_s, election_timeout_s / 300))
    return world
