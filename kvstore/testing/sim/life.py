"""One life of a node's process: the production replica in a loop that mirrors that of the server.

A turn is: take all that waits in the inbox, tick, perform the replica's steps in their order (``kvstore.server.node``).
It begins soon after something has come, or when the replica's next deadline has passed by the node's clock.

Where commits are *inline*, as in the server, the process stands still until the disk has the write. Where they
*overlap*, turns go on meanwhile: the core allows it, and several writes may be under way when the process dies.

A life that has ended does nothing more, whatever was still going to happen in it. What outlives it is the node's
(``kvstore.testing.sim.process``).
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final, assert_never

from kvstore.paxos.durable import Write
from kvstore.paxos.effects import Effects
from kvstore.paxos.types import Configuration, NodeId, ReadId, Slot
from kvstore.replica.steps import AnswerAll, Commit, LeadershipStep, Outgoing, ReadLog, Send, Step
from kvstore.testing.sim.boot import Ears, ProcessSettings, boot
from kvstore.testing.sim.clock import Clock
from kvstore.testing.sim.consensus_judge import ConsensusJudge
from kvstore.testing.sim.desk import Desk
from kvstore.testing.sim.disk import SimulatedDisk
from kvstore.testing.sim.events import Decided, LeadershipChanged, SlotsApplied, TimerFired
from kvstore.testing.sim.kill_switch import KillSwitch
from kvstore.testing.sim.network import InFlight, Network
from kvstore.testing.sim.scheduler import Scheduler
from kvstore.testing.sim.state_file import StateFile
from kvstore.testing.sim.state_judge import StateJudge
from kvstore.testing.sim.trace import Trace

__all__ = ["Life"]

_LOG_PAGE_BYTES_MAX: Final = 1 << 20
_WAKE_S: Final = 1e-4
_DEADLINE_SLACK_S: Final = 1e-6


class _Killed(BaseException):
    """The process dies at a named point."""


class Life:
    def __init__(
        self,
        node_id: NodeId,
        *,
        settings: ProcessSettings,
        first: Configuration,
        scheduler: Scheduler,
        clock: Clock,
        network: Network,
        disk: SimulatedDisk,
        state_file: StateFile,
        applied_end: Slot,
        consensus: ConsensusJudge,
        state_judge: StateJudge,
        trace: Trace,
        rng: Random,
        die: Callable[[str], None],
    ) -> None:
        """It begins with what the disk and the state file hold; nothing happens before ``wake``.

        ``die``: asks the node to end this life, and says why.
        """
        self._node_id = node_id
        self._inline_commits = settings.inline_commits
        self._scheduler = scheduler
        self._clock = clock
        self._network = network
        self._disk = disk
        self._consensus = consensus
        self._states = state_judge
        self._trace = trace
        self._die = die
        self._applied_from = applied_end
        self.booted = booted = boot(
            node_id,
            settings=settings,
            first=first,
            disk=disk,
            state_file=state_file,
            ears=Ears(
                within_turn=lambda: self._pass_point("apply.middle"),
                on_apply=lambda slot, batch, results: state_judge.applies(node_id, Slot(slot), batch, results),
                on_commit=self._on_state_commit,
                on_confirm=self._on_confirm,
                on_effects=self._on_effects,
            ),
            rng=rng,
            now=clock.now(),
        )
        self._replica = booted.replica
        self.desk = Desk(node_id, booted.replica, booted.store, state_judge)
        self.kill_switch = KillSwitch()
        self._ended = False
        self._paused = False
        self._inbox: deque[InFlight | Callable[[float], None]] = deque()
        self._steps: Iterator[Step] | None = None
        self._continuation: Callable[[], None] | None = None
        self._blocked = False
        self._turn_is_due = False
        self._alarm = 0
        self._causes: tuple[int, ...] = ()

    @property
    def is_paused(self) -> bool:
        return self._paused

    @property
    def waiting(self) -> int:
        """How much is in the inbox."""
        return len(self._inbox)

    def post(self, one: InFlight | Callable[[float], None]) -> None:
        """Something comes, and a turn will take it: a message, or what is to be done at a time of the clock."""
        self._inbox.append(one)
        self.wake()

    def pause(self) -> None:
        """Nothing happens in it; what comes waits."""
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self._continuation is not None:
            continuation, self._continuation = self._continuation, None
            continuation()
        self._turn_is_due = False
        self.wake()

    def end(self) -> None:
        self._ended = True

    # The loop

    def wake(self) -> None:
        """A turn will take place soon, if one can."""
        if self._turn_is_due or not self._can_turn:
            return
        self._turn_is_due = True
        self._scheduler.after(_WAKE_S, self._turn)

    @property
    def _can_turn(self) -> bool:
        return not (self._ended or self._paused or self._blocked)

    def _set_alarm(self) -> None:
        deadline = self._replica.next_deadline()
        if deadline is None:
            return
        self._alarm += 1
        alarm = self._alarm
        wait_s = self._clock.true_seconds_until(deadline)
        self._scheduler.after(wait_s + _DEADLINE_SLACK_S, lambda: self._ring(alarm))

    def _ring(self, alarm: int) -> None:
        if alarm == self._alarm and not self._turn_is_due:
            self._turn()

    def _turn(self) -> None:
        if not self._can_turn:
            return
        self._turn_is_due = False
        self._alarm += 1
        now = self._clock.now()
        if not self._inbox:
            self._trace.emit(TimerFired(self._scheduler.now, self._node_id))
        causes: list[int] = []
        while self._inbox:
            one = self._inbox.popleft()
            if isinstance(one, InFlight):
                causes.append(one.number)
                self._consensus.takes(self._node_id, one.sender, one.message)
                self._replica.receive(one.sender, one.message, now)
            else:
                one(now)
        self._causes = tuple(causes)
        self._replica.tick(now)
        self._steps = self._replica.turn(now)
        self._go_on()

    def _go_on(self) -> None:
        """Performs the turn's remaining steps, until it ends or waits for the disk."""
        assert self._steps is not None
        try:
            for step in self._steps:
                self._perform(step)
                if self._blocked or self._ended:
                    return
        except _Killed:
            return
        self._steps = None
        self.booted.paxos.check_invariants()
        if self._inbox or self._replica.wants_turn(self._clock.now()):
            self.wake()
        else:
            self._set_alarm()

    def _perform(self, step: Step) -> None:
        match step:
            case Send(messages):
                self._send(messages)
            case Commit(write):
                self._commit(write)
            case ReadLog(read):
                entries = self.booted.log.read_decided(read.start, read.end, bytes_max=_LOG_PAGE_BYTES_MAX)
                self._send([self._replica.log_page(read, entries)])
            case AnswerAll(answers):
                self._pass_point("apply.after")
                for answer in answers:
                    self.desk.perform(answer)
            case LeadershipStep(change):
                self._trace.emit(
                    LeadershipChanged(self._scheduler.now, self._node_id, change.role, change.leader, change.ballot)
                )
            case _:
                assert_never(step)

    def _send(self, messages: Sequence[Outgoing]) -> None:
        self._pass_point("send.before")
        for outgoing in messages:
            self._consensus.lets_out(self._node_id, outgoing.message)
            self._network.send(self._node_id, outgoing.to, outgoing.message, causes=self._causes)
            self._pass_point("send.middle")
        self._pass_point("send.after")

    def _commit(self, write: Write) -> None:
        self._pass_point("commit.before")
        self._blocked = self._inline_commits
        if not self._disk.commit(write, then=lambda: self._persisted(write)):
            self._die("its disk failed")

    def _persisted(self, write: Write) -> None:
        if not self._blocked:
            self.post(lambda now: self._replica.persisted(write.write_id, now))
            return
        if self._paused:
            self._continuation = lambda: self._persisted(write)
            return
        self._blocked = False
        try:
            self._pass_point("commit.after")
        except _Killed:
            return
        self._inbox.append(lambda now: self._replica.persisted(write.write_id, now))
        self._go_on()

    def _pass_point(self, point: str) -> None:
        then = self.kill_switch.passes(point)
        if then is not None:
            self._die(f"at {point}")
            then()
            raise _Killed

    # What comes out

    def _on_effects(self, effects: Effects) -> None:
        decided_before = self._consensus.decided_end_of(self._node_id)
        for decided in effects.decided:
            self._consensus.decides(self._node_id, decided)
            self._trace.emit(Decided(self._scheduler.now, self._node_id, decided.slot, decided.value))
        for ready in effects.reads_ready:
            self._consensus.read_is_ready(self._node_id, ready, decided_before=decided_before)
            self._states.is_confirmed(self._node_id, ready.read_id)

    def _on_confirm(self, read_id: ReadId) -> None:
        self._consensus.asks_to_confirm(self._node_id, read_id)
        self._states.asks_to_confirm(self._node_id, read_id)

    def _on_state_commit(self, applied_end: int, state_hash: bytes) -> None:
        self._states.commits(self._node_id, applied_end=applied_end, state_hash=state_hash)
        start, self._applied_from = self._applied_from, Slot(applied_end)
        if start < applied_end:
            self._trace.emit(SlotsApplied(self._scheduler.now, self._node_id, start, Slot(applied_end), state_hash))
