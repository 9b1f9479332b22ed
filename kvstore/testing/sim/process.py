"""One node's process: the production replica in a loop that mirrors that of the server.

A turn is: take all that waits in the inbox, tick, perform the replica's steps in their order (``kvstore.server.node``).
The process can be killed, between turns or at a named point within one, and started again from what its disk holds; it
can be paused, while time passes and its inbox fills; its clock may run fast or slow, or jump ahead.

Where commits are *inline*, as in the server, the process stands still until the disk has the write. Where they
*overlap*, turns go on meanwhile: the core allows it, and several writes may be under way when the process dies.
"""

import contextlib
import enum
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final, assert_never

from kvstore.paxos.core import Paxos
from kvstore.paxos.durable import Write
from kvstore.paxos.effects import Effects, Status
from kvstore.paxos.errors import NotLeader, WindowFull
from kvstore.paxos.types import Configuration, NodeId, ReadId, Slot
from kvstore.replica.replica import Replica
from kvstore.replica.steps import AnswerAll, Commit, LeadershipStep, Outgoing, ReadLog, Send, Step
from kvstore.testing.checking.history import Failed
from kvstore.testing.sim.boot import Booted, Ears, ProcessSettings, boot
from kvstore.testing.sim.calls import Call
from kvstore.testing.sim.clock import Clock
from kvstore.testing.sim.consensus_judge import ConsensusJudge
from kvstore.testing.sim.desk import Desk
from kvstore.testing.sim.disk import SimulatedDisk
from kvstore.testing.sim.events import (
    Decided,
    LeadershipChanged,
    LinkLost,
    LinkUp,
    ProcessCrashed,
    ProcessPaused,
    ProcessResumed,
    ProcessStarted,
    SlotsApplied,
    TimerFired,
)
from kvstore.testing.sim.kill_switch import KillSwitch
from kvstore.testing.sim.network import InFlight, Network
from kvstore.testing.sim.scheduler import Scheduler
from kvstore.testing.sim.state_file import StateFile
from kvstore.testing.sim.state_judge import StateJudge
from kvstore.testing.sim.trace import Trace
from kvstore.testing.sim.watched import WatchedStore

__all__ = ["Condition", "Process"]

_INBOX_MAX: Final = 2000
_LOG_PAGE_BYTES_MAX: Final = 1 << 20
_WAKE_S: Final = 1e-4
_DEADLINE_SLACK_S: Final = 1e-6


class Condition(enum.Enum):
    RUNNING = "running"
    PAUSED = "paused"
    DOWN = "down"


class _Killed(BaseException):
    """The process dies at a named point."""


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
        self.condition = Condition.DOWN
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
        self._life = 0
        self._kill_switch = KillSwitch()
        self._forget_process()

    def _forget_process(self) -> None:
        self._life += 1
        self._booted: Booted | None = None
        self._desk: Desk | None = None
        self._inbox: deque[InFlight | Callable[[float], None]] = deque()
        self._steps: Iterator[Step] | None = None
        self._continuation: Callable[[], None] | None = None
        self._blocked = False
        self._turn_is_due = False
        self._alarm = 0
        self._causes: tuple[int, ...] = ()
        self._applied_from = Slot(0)
        self._kill_switch.disarm()

    # The life of a process

    def start(self) -> None:
        """A new process finds what its disk holds."""
        assert self.condition is Condition.DOWN, f"node {self.node_id} is {self.condition.value}"
        self._forget_process()
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
        self._applied_from = Slot(applied_end)
        self._booted = booted = boot(
            self.node_id,
            settings=self._settings,
            first=self._first,
            disk=self.disk,
            state_file=self._state_file,
            ears=self._ears(),
            rng=Random(self._rng.getrandbits(64)),  # noqa: S311  a seed, no secret
            now=self.clock.now(),
        )
        self._desk = Desk(self.node_id, booted.replica, booted.store, self._states)
        recovered = booted.recovered
        self._consensus.process_started(self.node_id, promised=recovered.promised, decided_end=recovered.decided_end)
        self.condition = Condition.RUNNING
        self._trace.emit(
            ProcessStarted(
                self._scheduler.now,
                self.node_id,
                booted.log.identity.incarnation,
                recovered.promised,
                recovered.decided_end,
            )
        )
        self._network.reconnect()
        self._wake()

    def _ears(self) -> Ears:
        return Ears(
            within_turn=lambda: self._pass_point("apply.middle"),
            on_apply=lambda slot, batch, results: self._states.applies(self.node_id, Slot(slot), batch, results),
            on_commit=self._on_state_commit,
            on_confirm=self._on_confirm,
            on_effects=self._on_effects,
        )

    def kill(self, why: str, *, power_lost: bool = False) -> None:
        """The process is gone at once. With the power goes what the state's file had not synced."""
        if self.condition is Condition.DOWN:
            return
        desk = self._desk
        self.condition = Condition.DOWN
        self._forget_process()
        self.disk.lose_process()
        if power_lost:
            self._state_file.lose_power()
        else:
            self._state_file.lose_process()
        self._power_lost = power_lost
        applied_end, _ = self._state_file.look(self._settings.limits)
        self._trace.emit(ProcessCrashed(self._scheduler.now, self.node_id, why, Slot(applied_end)))
        self._network.process_ended(self.node_id, hint_after_s=None if power_lost else self._rng.uniform(0.0, 0.01))
        if desk is not None and not power_lost:  # else nobody is left to tell the clients
            desk.process_ended()

    def kill_at(self, point: str, passages: int, *, then: Callable[[], None]) -> None:
        """The process dies at the ``passages``-th passage (from 1) of a point; ``then`` is called after that."""
        self._kill_switch.arm(point, passages, then)

    def spare(self) -> None:
        """Takes ``kill_at`` back."""
        self._kill_switch.disarm()

    def pause(self) -> None:
        """SIGSTOP: nothing happens in it; what comes waits."""
        if self.condition is Condition.RUNNING:
            self.condition = Condition.PAUSED
            self._trace.emit(ProcessPaused(self._scheduler.now, self.node_id))

    def resume(self) -> None:
        """SIGCONT."""
        if self.condition is not Condition.PAUSED:
            return
        self.condition = Condition.RUNNING
        self._trace.emit(ProcessResumed(self._scheduler.now, self.node_id))
        if self._continuation is not None:
            continuation, self._continuation = self._continuation, None
            continuation()
        if self.condition is Condition.RUNNING:
            self._turn_is_due = False
            self._wake()

    def set_clock_rate(self, rate: float) -> None:
        self.clock.set_rate(rate)
        self._wake()

    def jump_clock(self, seconds: float) -> None:
        self.clock.jump(seconds)
        self._wake()

    # What a run looks at

    @property
    def is_up(self) -> bool:
        return self.condition is not Condition.DOWN

    @property
    def replica(self) -> Replica:
        return self._alive.replica

    @property
    def paxos(self) -> Paxos:
        return self._alive.paxos

    @property
    def store(self) -> WatchedStore:
        return self._alive.store

    @property
    def _alive(self) -> Booted:
        assert self._booted is not None, f"node {self.node_id} is down"
        return self._booted

    def status(self) -> Status:
        return self.paxos.status()

    @property
    def owed(self) -> int:
        """How many requests wait here that somebody has to settle."""
        return 0 if self._desk is None else self._desk.owed

    # Inputs

    def deliver(self, wire: InFlight) -> bool:
        """A message reaches the inbox; False where that is full."""
        if len(self._inbox) >= _INBOX_MAX:
            return False
        self._post(wire)
        return True

    def link_up(self, peer: NodeId) -> None:
        if self.is_up:
            self._trace.emit(LinkUp(self._scheduler.now, self.node_id, peer))
            self._post(lambda _now: self.replica.link_up(peer))

    def link_lost(self, peer: NodeId) -> None:
        if self.is_up:
            self._trace.emit(LinkLost(self._scheduler.now, self.node_id, peer))
            self._post(lambda now: self.replica.link_lost(peer, now))

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
        if self.is_up:
            self._post(lambda now: _ignore(act(self.replica, now)))

    def call(self, call: Call) -> None:
        """A client's request arrives."""
        desk = self._desk
        if desk is None:
            call.answer(Failed("connection refused"))
            return
        desk.arrives(call)
        self._post(lambda _now: desk.take(call))

    def cancel(self, call: Call) -> None:
        """The client has stopped waiting, and says so."""
        desk = self._desk
        if desk is not None:
            self._post(lambda _now: desk.give_up(call))

    def _post(self, one: InFlight | Callable[[float], None]) -> None:
        self._inbox.append(one)
        self._wake()

    # The loop

    def _wake(self) -> None:
        if self._turn_is_due or self._blocked or self.condition is not Condition.RUNNING:
            return
        self._turn_is_due = True
        life = self._life
        self._scheduler.after(_WAKE_S, lambda: self._turn(life))

    def _set_alarm(self) -> None:
        deadline = self.replica.next_deadline()
        if deadline is None:
            return
        self._alarm += 1
        life, alarm = self._life, self._alarm
        wait_s = self.clock.true_seconds_until(deadline)
        self._scheduler.after(wait_s + _DEADLINE_SLACK_S, lambda: self._ring(life, alarm))

    def _ring(self, life: int, alarm: int) -> None:
        if (life, alarm) != (self._life, self._alarm) or self._blocked or self.condition is not Condition.RUNNING:
            return
        if not self._turn_is_due:
            self._turn(life)

    def _turn(self, life: int) -> None:
        if life != self._life or self._blocked or self.condition is not Condition.RUNNING:
            return
        self._turn_is_due = False
        self._alarm += 1
        now = self.clock.now()
        if not self._inbox:
            self._trace.emit(TimerFired(self._scheduler.now, self.node_id))
        causes: list[int] = []
        inbox = self._inbox
        while inbox:
            one = inbox.popleft()
            if isinstance(one, InFlight):
                causes.append(one.number)
                self._consensus.takes(self.node_id, one.sender, one.message)
                self.replica.receive(one.sender, one.message, now)
            else:
                one(now)
        self._causes = tuple(causes)
        self.replica.tick(now)
        self._steps = self.replica.turn(now)
        self._go_on()

    def _go_on(self) -> None:
        """Performs the turn's remaining steps, until it ends or waits for the disk."""
        assert self._steps is not None
        life = self._life
        try:
            for step in self._steps:
                self._perform(step)
                if self._blocked or self._life != life:
                    return
        except _Killed:
            return
        self._steps = None
        self.paxos.check_invariants()
        if self._inbox or self.replica.wants_turn(self.clock.now()):
            self._wake()
        else:
            self._set_alarm()

    def _perform(self, step: Step) -> None:
        match step:
            case Send(messages):
                self._send(messages)
            case Commit(write):
                self._commit(write)
            case ReadLog(read):
                entries = self._alive.log.read_decided(read.start, read.end, bytes_max=_LOG_PAGE_BYTES_MAX)
                self._send([self.replica.log_page(read, entries)])
            case AnswerAll(answers):
                self._pass_point("apply.after")
                assert self._desk is not None, "the dead answer nobody"
                for answer in answers:
                    self._desk.perform(answer)
            case LeadershipStep(change):
                self._trace.emit(
                    LeadershipChanged(self._scheduler.now, self.node_id, change.role, change.leader, change.ballot)
                )
            case _:
                assert_never(step)

    def _send(self, messages: Sequence[Outgoing]) -> None:
        self._pass_point("send.before")
        for outgoing in messages:
            self._consensus.lets_out(self.node_id, outgoing.message)
            self._network.send(self.node_id, outgoing.to, outgoing.message, causes=self._causes)
            self._pass_point("send.middle")
        self._pass_point("send.after")

    def _commit(self, write: Write) -> None:
        self._pass_point("commit.before")
        self._blocked = self._settings.inline_commits
        if not self.disk.commit(write, then=lambda: self._persisted(write)):
            self.kill("its disk failed")

    def _persisted(self, write: Write) -> None:
        if not self._blocked:
            self._post(lambda now: self.replica.persisted(write.write_id, now))
            return
        if self.condition is Condition.PAUSED:
            self._continuation = lambda: self._persisted(write)
            return
        self._blocked = False
        try:
            self._pass_point("commit.after")
        except _Killed:
            return
        self._inbox.append(lambda now: self.replica.persisted(write.write_id, now))
        self._go_on()

    def _pass_point(self, point: str) -> None:
        then = self._kill_switch.passes(point)
        if then is not None:
            self.kill(f"at {point}")
            then()
            raise _Killed

    # What comes out

    def _on_effects(self, effects: Effects) -> None:
        decided_before = self._consensus.decided_end_of(self.node_id)
        for decided in effects.decided:
            self._consensus.decides(self.node_id, decided)
            self._trace.emit(Decided(self._scheduler.now, self.node_id, decided.slot, decided.value))
        for ready in effects.reads_ready:
            self._consensus.read_is_ready(self.node_id, ready, decided_before=decided_before)
            self._states.is_confirmed(self.node_id, ready.read_id)

    def _on_confirm(self, read_id: ReadId) -> None:
        self._consensus.asks_to_confirm(self.node_id, read_id)
        self._states.asks_to_confirm(self.node_id, read_id)

    def _on_state_commit(self, applied_end: int, state_hash: bytes) -> None:
        self._states.commits(self.node_id, applied_end=applied_end, state_hash=state_hash)
        start, self._applied_from = self._applied_from, Slot(applied_end)
        if start < applied_end:
            self._trace.emit(SlotsApplied(self._scheduler.now, self.node_id, start, Slot(applied_end), state_hash))


def _ignore(_result: object) -> None:
    """An input has no result."""
