"""What carries out a plan of faults, and takes everything back when their time is over."""

from collections.abc import Callable
from random import Random
from typing import assert_never

from kvstore.paxos.types import NodeId
from kvstore.testing.sim.events import FaultBegan, FaultEnded
from kvstore.testing.sim.faults import Fault, FaultKind, Lanes
from kvstore.testing.sim.network import Weather
from kvstore.testing.sim.process import Condition, Process
from kvstore.testing.sim.world import World

__all__ = ["Nemesis"]


class Nemesis:
    """``fired`` counts by kind the faults that struck; one that found its node dead already did not."""

    def __init__(self, world: World, plan: tuple[Fault, ...]) -> None:
        self._world = world
        self._plan = plan
        self._active: dict[int, tuple[Fault, Callable[[], None]]] = {}
        self._over = False
        self.fired: dict[FaultKind, int] = dict.fromkeys(FaultKind, 0)

    def begin(self) -> None:
        for fault in self._plan:
            self._world.scheduler.at(fault.at, lambda f=fault: self._strike(f))  # type: ignore[misc]

    def end_all(self) -> None:
        """Every fault is over at once, and what it left behind is put right: the world is whole."""
        self._over = True
        for number in list(self._active):
            self._end(number)
        self._world.network.clear_all()
        for process in self._world.processes.values():
            _put_right(process)

    def _strike(self, fault: Fault) -> None:
        if self._over:
            return
        node = self._world.leader() if fault.strikes_leader else None
        undo = self._carry_out(fault, fault.node if node is None else node)
        if undo is None:
            return
        self.fired[fault.kind] += 1
        self._world.trace.emit(FaultBegan(self._world.scheduler.now, fault.number, fault.kind.value, str(fault)))
        self._active[fault.number] = (fault, undo)
        self._world.scheduler.at(fault.until, lambda: self._end(fault.number))

    def _end(self, number: int) -> None:
        if number not in self._active:
            return
        fault, undo = self._active.pop(number)
        undo()
        self._world.trace.emit(FaultEnded(self._world.scheduler.now, number, fault.kind.value))

    def _carry_out(self, fault: Fault, node: NodeId) -> Callable[[], None] | None:
        """Does it, and returns how to undo it; None where there is nothing to do it to."""
        process = self._world.processes[node]
        amount = fault.amount
        match fault.kind:
            case FaultKind.LOSS:
                return self._weather(fault, node, Weather(loss=amount))
            case FaultKind.DUPLICATION:
                return self._weather(fault, node, Weather(duplicate=amount))
            case FaultKind.REORDERING:
                return self._weather(fault, node, Weather(reorder=amount))
            case FaultKind.DELAY:
                return self._weather(fault, node, Weather(delay_s=amount))
            case FaultKind.CLOG:
                return self._weather(fault, node, Weather(clogged=True))
            case (
                FaultKind.ONE_WAY_CUT
                | FaultKind.ISOLATION
                | FaultKind.SPLIT
                | FaultKind.PARTIAL_PARTITION
                | FaultKind.QUORUM_LOSS
                | FaultKind.CHAIN
            ):
                return self._cut(fault, node)
            case FaultKind.FLAPPING:
                return self._flap(fault, node)
            case FaultKind.RESET:
                return self._reset(fault, node)
            case FaultKind.CLIENT_LOSS:
                self._world.client_link.loss[fault.number] = amount
                return lambda: self._forget(self._world.client_link.loss, fault.number)
            case FaultKind.CRASH:
                return self._kill(process, "SIGKILL")
            case FaultKind.POWER_LOSS:
                return self._kill(process, "power loss", power_lost=True)
            case FaultKind.RESTART_LOOP:
                return self._restart_loop(fault, process)
            case FaultKind.KILL_POINT:
                return self._kill_point(fault, process)
            case FaultKind.BLACKOUT:
                return self._blackout(fault)
            case FaultKind.PAUSE:
                if process.condition is not Condition.RUNNING:
                    return None
                process.pause()
                return process.resume
            case FaultKind.HANDOVER:
                if process.condition is not Condition.RUNNING:
                    return None
                process.hand_over()
                return _nothing
            case FaultKind.MEMBERSHIP:
                return self._reconfigure(fault)
            case FaultKind.SLOW_DISK:
                process.disk.slowness[fault.number] = amount
                return lambda: self._forget(process.disk.slowness, fault.number)
            case FaultKind.DISK_STALL:
                process.disk.next_write_stalls_s = amount
                return _nothing
            case FaultKind.DISK_ERROR:
                if not process.is_up:
                    return None
                process.disk.next_write_fails = True
                return lambda: _start_again(process)
            case FaultKind.CLOCK_DRIFT:
                process.set_clock_rate(amount)
                return lambda: process.set_clock_rate(1.0)
            case FaultKind.CLOCK_JUMP:
                process.jump_clock(amount)
                return _nothing
            case _:
                assert_never(fault.kind)

    # The network

    def _lanes(self, fault: Fault, node: NodeId) -> Lanes:
        if fault.lanes:
            return fault.lanes
        return tuple(lane for lane in self._world.network.lanes if node in lane)

    def _weather(self, fault: Fault, node: NodeId, weather: Weather) -> Callable[[], None] | None:
        lanes = self._lanes(fault, node)
        if not lanes:
            return None
        for sender, to in lanes:
            self._world.network.lay(fault.number, sender, to, weather)
        return lambda: self._world.network.clear(fault.number)

    def _cut(self, fault: Fault, node: NodeId) -> Callable[[], None] | None:
        """The connections may break in time, seem intact all along, or break only at one end's say-so."""
        undo = self._weather(fault, node, Weather(cut=True))
        if undo is not None and fault.hint_s is not None:
            for one, other in dict.fromkeys((min(lane), max(lane)) for lane in self._lanes(fault, node)):
                self._world.network.break_connection(one, other, hint_after_s=fault.hint_s)
        return undo

    def _flap(self, fault: Fault, node: NodeId) -> Callable[[], None] | None:
        if not self._lanes(fault, node):
            return None

        def flap(*, cut: bool) -> None:
            if fault.number not in self._active and self._world.scheduler.now > fault.at:
                return
            if cut:
                self._cut(fault, node)
            else:
                self._world.network.clear(fault.number)
            self._world.scheduler.after(fault.amount, lambda: flap(cut=not cut))

        flap(cut=True)
        return lambda: self._world.network.clear(fault.number)

    def _reset(self, fault: Fault, node: NodeId) -> Callable[[], None] | None:
        pairs = dict.fromkeys((min(lane), max(lane)) for lane in self._lanes(fault, node))
        connected = [(a, b) for a, b in pairs if self._world.network.is_connected(a, b)]
        for one, other in connected:
            self._world.network.break_connection(one, other, hint_after_s=fault.hint_s)
        return _nothing if connected else None

    # Processes

    def _kill(self, process: Process, why: str, *, power_lost: bool = False) -> Callable[[], None] | None:
        if not process.is_up:
            return None
        process.kill(why, power_lost=power_lost)
        return lambda: _start_again(process)

    def _restart_loop(self, fault: Fault, process: Process) -> Callable[[], None] | None:
        if not process.is_up:
            return None
        rng = self._rng(fault)
        scale_s = self._world.config.election_timeout_s

        def kill() -> None:
            if fault.number in self._active or self._world.scheduler.now <= fault.at:
                process.kill("restart loop")
                self._world.scheduler.after(scale_s * rng.uniform(0.01, 0.2), start)

        def start() -> None:
            if fault.number in self._active:
                _start_again(process)
                self._world.scheduler.after(scale_s * rng.uniform(0.001, 0.5), kill)

        kill()
        return lambda: _start_again(process)

    def _kill_point(self, fault: Fault, process: Process) -> Callable[[], None] | None:
        if not process.is_up:
            return None
        pause_s = self._world.config.election_timeout_s * self._rng(fault).uniform(0.01, 1.0)

        def start_later() -> None:
            self._world.scheduler.after(pause_s, lambda: None if self._over else _start_again(process))

        process.kill_at(fault.point, int(fault.amount), then=start_later)
        return process.spare

    def _blackout(self, fault: Fault) -> Callable[[], None] | None:
        """All at once; they come back one after the other."""
        rng = self._rng(fault)
        for process in self._world.processes.values():
            process.kill("blackout", power_lost=True)

        def come_back() -> None:
            for process in self._world.processes.values():
                wait_s = self._world.config.election_timeout_s * rng.uniform(0.0, 0.3)
                self._world.scheduler.after(wait_s, lambda p=process: _start_again(p))  # type: ignore[misc]

        return come_back

    def _reconfigure(self, fault: Fault) -> Callable[[], None] | None:
        """The leader proposes that others vote, or learn."""
        leader = self._world.leader()
        if leader is None:
            return None
        rng = self._rng(fault)
        nodes = self._world.node_ids
        members = rng.sample(nodes, rng.randint(min(2, len(nodes)), len(nodes)))
        voters = rng.randint((len(members) + 1) // 2, len(members))
        self._world.reconfigure(leader, voters=members[:voters], learners=members[voters:])
        return _nothing

    def _rng(self, fault: Fault) -> Random:
        return self._world.rng(f"fault {fault.number}")

    @staticmethod
    def _forget(effects: dict[int, float], number: int) -> None:
        effects.pop(number, None)


def _nothing() -> None:
    """There is nothing to undo."""


def _start_again(process: Process) -> None:
    if not process.is_up:
        process.start()


def _put_right(process: Process) -> None:
    process.spare()
    process.disk.slowness.clear()
    process.disk.next_write_fails = False
    process.disk.next_write_stalls_s = 0.0
    process.set_clock_rate(1.0)
    if process.condition is Condition.PAUSED:
        process.resume()
    _start_again(process)
