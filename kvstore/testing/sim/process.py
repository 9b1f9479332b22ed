"""One node's process as others see it: it starts from what its disk holds, dies, is paused, and has a clock.

It can be killed, between turns or at a named point within one, and started again; it can be paused, while time passes
and its inbox fills; its clock may run fast or slow, or jump ahead. What goes on inside from its start to its death is
``kvstore.testing.sim.life``.
"""

import contextlib
import enum
from collections.abc import Callable
from random import Random
from typing import Final

from kvstore.paxos.core import Paxos
from kvstore.paxos.effects import Status
from kvstore.paxos.errors import NotLeader, WindowFull
from kvstore.paxos.types import Configuration, NodeId, Slot
from kvstore.replica.replica import Replica
from kvstore.testing.checking.history import Failed
from kvstore.testing.sim.boot import ProcessSettings
from kvstore.testing.sim.calls import Call
from kvstore.testing.sim.clock import Clock
from kvstore.testing.sim.consensus_judge import ConsensusJudge
from kvstore.testing.sim.disk import SimulatedDisk
from kvstore.testing.sim.events import (
    LinkLost,
    LinkUp,
    ProcessCrashed,
    ProcessPaused,
    ProcessResumed,
    ProcessStarted,
)
from kvstore.testing.sim.life import Life
from kvstore.testing.sim.network import InFlight, Network
from kvstore.testing.sim.scheduler import Scheduler
from kvstore.testing.sim.state_file import StateFile
from kvstore.testing.sim.state_judge import StateJudge
from kvstore.testing.sim.trace import Trace
from kvstore.testing.sim.watched import WatchedStore

__all__ = ["Condition", "Process"]

_INBOX_MAX: Final = 2000


class Condition(enum.Enum):
    RUNNING = "running"
    PAUSED = "paused"
    DOWN = "down"


class Process:
    def __init__(
        self,
        node_id: NodeId,
        *,
        settings: ProcessSettings,
        first: Configuration,
        scheduler: Scheduler,
        network: Network,
        disk: SimulatedDisk,
        state_file: StateFile,
        consensus: ConsensusJudge,
        state_judge: StateJudge,
        trace: Trace,
        rng: Random,
    ) -> None:
        self.node_id = node_id
        self.disk = disk
        self.clock = Clock(scheduler)
        self._settings = settings
        self._first = first
        self._scheduler = scheduler
        self._network = network
        self._state_file = state_file
        self._consensus = consensus
        self._states = state_judge
        self._trace = trace
        self._rng = rng
        self._power_lost = False
        self._life: Life | None = None

    # The life of a process

    def start(self) -> None:
        """A new process finds what its disk holds."""
        assert self.condition is Condition.DOWN, f"node {self.node_id} is {self.condition.value}"
        self.clock.begin(self._rng.uniform(0.0, 1000.0))
        applied_end, state_hash = self._state_file.look(self._settings.limits)
        self._states.process_started(
            self.node_id,
            applied_end=applied_end,
            state_hash=state_hash,
            power_lost=self._power_lost,
            beyond=self._state_file.beyond_progress(),
            too_many=self._state_file.too_many(self._settings.limits),
        )
        self._power_lost = False
        self._life = life = Life(
            self.node_id,
            settings=self._settings,
            first=self._first,
            scheduler=self._scheduler,
            clock=self.clock,
            network=self._network,
            disk=self.disk,
            state_file=self._state_file,
            applied_end=Slot(applied_end),
            consensus=self._consensus,
            state_judge=self._states,
            trace=self._trace,
            rng=Random(self._rng.getrandbits(64)),  # noqa: S311  a seed, no secret
            die=self.kill,
        )
        recovered = life.booted.recovered
        self._consensus.process_started(self.node_id, promised=recovered.promised, decided_end=recovered.decided_end)
        self._trace.emit(
            ProcessStarted(
                self._scheduler.now,
                self.node_id,
                life.booted.log.identity.incarnation,
                recovered.promised,
                recovered.decided_end,
            )
        )
        self._network.reconnect()
        life.wake()

    def kill(self, why: str, *, power_lost: bool = False, state_lost: bool = False) -> None:
        """The process is gone at once. With the power goes what the state's file had not synced; that may be all."""
        assert power_lost or not state_lost, "only a loss of power takes a state back"
        life, self._life = self._life, None
        if life is None:
            return
        life.end()
        self.disk.lose_process()
        if state_lost:
            self._state_file.lose_everything()
        elif power_lost:
            self._state_file.lose_power()
        else:
            self._state_file.lose_process()
        self._power_lost = power_lost
        applied_end, _ = self._state_file.look(self._settings.limits)
        self._trace.emit(ProcessCrashed(self._scheduler.now, self.node_id, why, Slot(applied_end)))
        self._network.process_ended(self.node_id, hint_after_s=None if power_lost else self._rng.uniform(0.0, 0.01))
        if not power_lost:  # else nobody is left to tell the clients
            life.desk.process_ended()

    def forget_state(self) -> None:
        """It is gone, and a new process begins with what the log holds."""
        assert self.is_up, f"node {self.node_id} is down"
        self.kill("its state is lost", power_lost=True, state_lost=True)
        self.start()

    def kill_at(self, point: str, passages: int, *, then: Callable[[], None]) -> None:
        """The process dies at the ``passages``-th passage (from 1) of a point; ``then`` is called after that."""
        self._alive.kill_switch.arm(point, passages, then)

    def spare(self) -> None:
        """Takes ``kill_at`` back."""
        if self._life is not None:
            self._life.kill_switch.disarm()

    def pause(self) -> None:
        """SIGSTOP: nothing happens in it; what comes waits."""
        if self._life is not None and not self._life.is_paused:
            self._life.pause()
            self._trace.emit(ProcessPaused(self._scheduler.now, self.node_id))

    def resume(self) -> None:
        """SIGCONT."""
        if self._life is not None and self._life.is_paused:
            self._trace.emit(ProcessResumed(self._scheduler.now, self.node_id))
            self._life.resume()

    def set_clock_rate(self, rate: float) -> None:
        self.clock.set_rate(rate)
        self._clock_changed()

    def jump_clock(self, seconds: float) -> None:
        self.clock.jump(seconds)
        self._clock_changed()

    def _clock_changed(self) -> None:
        if self._life is not None:
            self._life.wake()

    # What a run looks at

    @property
    def condition(self) -> Condition:
        if self._life is None:
            return Condition.DOWN
        return Condition.PAUSED if self._life.is_paused else Condition.RUNNING

    @property
    def is_up(self) -> bool:
        return self._life is not None

    @property
    def replica(self) -> Replica:
        return self._alive.booted.replica

    @property
    def paxos(self) -> Paxos:
        return self._alive.booted.paxos

    @property
    def store(self) -> WatchedStore:
        return self._alive.booted.store

    @property
    def _alive(self) -> Life:
        assert self._life is not None, f"node {self.node_id} is down"
        return self._life

    def status(self) -> Status:
        return self.paxos.status()

    @property
    def owed(self) -> int:
        """How many requests wait here that somebody has to settle."""
        return 0 if self._life is None else self._life.desk.owed

    # Inputs

    def deliver(self, wire: InFlight) -> bool:
        """A message reaches the inbox; False where that is full."""
        life = self._alive
        if life.waiting >= _INBOX_MAX:
            return False
        life.post(wire)
        return True

    def link_up(self, peer: NodeId) -> None:
        if self.is_up:
            self._trace.emit(LinkUp(self._scheduler.now, self.node_id, peer))
            self.inject(lambda replica, _now: replica.link_up(peer))

    def link_lost(self, peer: NodeId) -> None:
        if self.is_up:
            self._trace.emit(LinkLost(self._scheduler.now, self.node_id, peer))
            self.inject(lambda replica, now: replica.link_lost(peer, now))

    def hand_over(self) -> None:
        """Asks the replica to hand its leadership over, if it leads."""
        self.inject(lambda replica, now: replica.hand_over(now))

    def propose_configuration(self, configuration: Configuration) -> None:
        """Proposes it, if this node leads and has room for a proposal."""

        def propose(_replica: Replica, now: float) -> None:
            with contextlib.suppress(NotLeader, WindowFull):
                self.paxos.propose_configuration(configuration, now)

        self.inject(propose)

    def inject(self, act: Callable[[Replica, float], object]) -> None:
        """``act`` is an input like any other: it takes place with the next turn."""
        life = self._life
        if life is not None:
            replica = life.booted.replica
            life.post(lambda now: _ignore(act(replica, now)))

    def call(self, call: Call) -> None:
        """A client's request arrives."""
        life = self._life
        if life is None:
            call.answer(Failed("connection refused"))
            return
        desk = life.desk
        desk.arrives(call)
        life.post(lambda _now: desk.take(call))

    def cancel(self, call: Call) -> None:
        """The client has stopped waiting, and says so."""
        life = self._life
        if life is not None:
            desk = life.desk
            life.post(lambda _now: desk.give_up(call))


def _ignore(_result: object) -> None:
    """An input has no result."""
