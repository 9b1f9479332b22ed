"""The network: one lane per ordered pair of nodes, each with its own weather, and one connection per pair.

A lane is two streams, one for the protocol and one for bulk, as in ``kvstore.transport``. Each keeps order and loses
nothing, as TCP does, until a fault says otherwise. Faults overlap: each lays its own ``Weather`` on a lane and takes it
away again.

- *loss*, *duplication*, *reordering*: each message by chance;
- *delay*: every message waits longer; the order stays;
- *clog*: nothing arrives until the clog is gone, then all does;
- *cut*: what is sent or would arrive is lost, in this direction only; the connection may seem intact.

A *reset* breaks the connection of a pair: what is on its way is lost, both ends are told some time later (or a dead
process's peers are told), and it comes back by itself as soon as both processes run and no lane between them is cut.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from kvstore.paxos.messages import CatchUp, Decided, SnapshotOffer
from kvstore.paxos.types import NodeId
from kvstore.replica.messages import Forward, ForwardReply
from kvstore.testing.sim.events import (
    AnyMessage,
    DropCause,
    MessageDelivered,
    MessageDropped,
    MessageDuplicated,
    MessageSent,
)
from kvstore.testing.sim.scheduler import Scheduler
from kvstore.testing.sim.trace import Trace

__all__ = ["InFlight", "Lane", "Network", "Weather"]

_BULK: Final = (Forward, ForwardReply, CatchUp, Decided, SnapshotOffer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """What one fault does to one lane. Chances are from 0 to 1; ``reorder`` lets a message overtake others."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay_s: float = 0.0
    clogged: bool = False
    cut: bool = False


@dataclass(frozen=True, slots=True)
class InFlight:
    number: int
    sender: NodeId
    to: NodeId
    message: AnyMessage
    sent_at: float
    connection: int


@dataclass(slots=True)
class Lane:
    """``weather`` by the fault that brought it; the rest sums it up."""

    weather: dict[int, Weather] = field(default_factory=dict)
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay_s: float = 0.0
    clogged: bool = False
    cut: bool = False
    last_arrival: dict[bool, float] = field(default_factory=dict)
    """Of the protocol's stream and of that for bulk."""
    held: list[InFlight] = field(default_factory=list)
    """What a clog holds back, in order."""

    def sum_up(self) -> None:
        all_of_it = self.weather.values()
        self.loss = max((w.loss for w in all_of_it), default=0.0)
        self.duplicate = max((w.duplicate for w in all_of_it), default=0.0)
        self.reorder = max((w.reorder for w in all_of_it), default=0.0)
        self.delay_s = sum(w.delay_s for w in all_of_it)
        self.clogged = any(w.clogged for w in all_of_it)
        self.cut = any(w.cut for w in all_of_it)


@dataclass(slots=True)
class _Connection:
    """``number`` counts the times it broke: what was sent before belongs to an older one."""

    up: bool = False
    number: int = 0
    told: bool = True
    """Both ends know that it is down."""
    reconnecting: bool = False


class Network:
    """``is_up`` tells whether a node's process exists (a paused one does); the callbacks deliver to its inbox."""

    def __init__(
        self,
        nodes: tuple[NodeId, ...],
        *,
        scheduler: Scheduler,
        rng: Random,
        trace: Trace,
        latency_s: float,
        is_up: Callable[[NodeId], bool],
        deliver: Callable[[InFlight], bool],
        link_up: Callable[[NodeId, NodeId], None],
        link_lost: Callable[[NodeId, NodeId], None],
    ) -> None:
        self._nodes = nodes
        self._scheduler = scheduler
        self._rng = rng
        self._trace = trace
        self._latency_s = latency_s
        self._is_up = is_up
        self._deliver = deliver
        self._link_up = link_up
        self._link_lost = link_lost
        self._next_number = 1
        self.lanes = {(a, b): Lane() for a in nodes for b in nodes if a != b}
        self._connections = {(a, b): _Connection() for a in nodes for b in nodes if a < b}

    # Messages

    def send(self, sender: NodeId, to: NodeId, message: AnyMessage, *, causes: tuple[int, ...]) -> None:
        now = self._scheduler.now
        number = self._take_number()
        self._trace.emit(MessageSent(now, number, sender, to, message, causes))
        lane = self.lanes[sender, to]
        connection = self._connection(sender, to)
        wire = InFlight(number, sender, to, message, now, connection.number)
        if not connection.up:
            self._drop(wire, DropCause.NOT_CONNECTED)
        elif lane.cut:
            self._drop(wire, DropCause.CUT)
        elif lane.loss and self._rng.random() < lane.loss:
            self._drop(wire, DropCause.LOSS)
        else:
            self._dispatch(lane, wire)
            if lane.duplicate and self._rng.random() < lane.duplicate:
                copy = InFlight(self._take_number(), sender, to, message, now, connection.number)
                self._trace.emit(MessageDuplicated(now, number, copy.number, sender, to, message))
                self._scheduler.after(self._latency() * 10 * self._rng.random(), lambda: self._arrive(lane, copy))

    def _dispatch(self, lane: Lane, wire: InFlight) -> None:
        arrival = self._scheduler.now + self._latency() + lane.delay_s
        if lane.reorder and self._rng.random() < lane.reorder:
            arrival += self._latency() * 20 * self._rng.random()
        else:
            bulk = isinstance(wire.message, _BULK)
            lane.last_arrival[bulk] = arrival = max(arrival, lane.last_arrival.get(bulk, 0.0))
        self._scheduler.at(arrival, lambda: self._arrive(lane, wire))

    def _arrive(self, lane: Lane, wire: InFlight) -> None:
        if wire.connection != self._connection(wire.sender, wire.to).number:
            self._drop(wire, DropCause.RESET)
        elif lane.cut:
            self._drop(wire, DropCause.CUT)
        elif not self._is_up(wire.to):
            self._drop(wire, DropCause.NODE_DOWN)
        elif lane.clogged:
            lane.held.append(wire)
        elif not self._deliver(wire):
            self._drop(wire, DropCause.QUEUE_FULL)
        else:
            self._trace.emit(
                MessageDelivered(self._scheduler.now, wire.number, wire.sender, wire.to, wire.message, wire.sent_at)
            )

    def _drop(self, wire: InFlight, cause: DropCause) -> None:
        self._trace.emit(
            MessageDropped(self._scheduler.now, wire.number, wire.sender, wire.to, wire.message, wire.sent_at, cause)
        )

    def _latency(self) -> float:
        return self._latency_s * (0.5 + self._rng.random())

    def _take_number(self) -> int:
        self._next_number += 1
        return self._next_number - 1

    # Weather

    def lay(self, fault: int, sender: NodeId, to: NodeId, weather: Weather) -> None:
        """``fault`` does this to the lane from now on."""
        lane = self.lanes[sender, to]
        lane.weather[fault] = weather
        lane.sum_up()

    def clear(self, fault: int) -> None:
        """``fault`` is over on all lanes: what clogs held back arrives, and broken connections come back."""
        for lane in self.lanes.values():
            if lane.weather.pop(fault, None) is None:
                continue
            lane.sum_up()
            if not lane.clogged:
                held, lane.held = lane.held, []
                for wire in held:
                    self._dispatch(lane, wire)
        self.reconnect()

    def clear_all(self) -> None:
        for fault in dict.fromkeys(f for lane in self.lanes.values() for f in lane.weather):
            self.clear(fault)

    # Connections

    def is_connected(self, one: NodeId, other: NodeId) -> bool:
        return self._connection(one, other).up

    def break_connection(self, one: NodeId, other: NodeId, *, hint_after_s: float | None) -> None:
        """What is on its way is lost. The ends that live are told after ``hint_after_s``; None: never."""
        connection = self._connection(one, other)
        connection.number += 1
        connection.told = connection.told and not connection.up
        connection.up = False
        if not connection.told and hint_after_s is not None:
            number = connection.number
            self._scheduler.after(hint_after_s, lambda: self._tell(one, other, number))
        self._reconnect_soon(one, other)

    def _tell(self, one: NodeId, other: NodeId, number: int) -> None:
        connection = self._connection(one, other)
        if connection.number == number and not connection.told:
            connection.told = True
            self._link_lost(one, other)
            self._link_lost(other, one)

    def process_ended(self, node: NodeId, *, hint_after_s: float | None) -> None:
        for peer in self._nodes:
            if peer != node:
                self.break_connection(node, peer, hint_after_s=hint_after_s)

    def reconnect(self) -> None:
        """Something may have become possible: connections that are down try again, soon."""
        for one, other in self._connections:
            self._reconnect_soon(one, other)

    def _reconnect_soon(self, one: NodeId, other: NodeId) -> None:
        connection = self._connection(one, other)
        if connection.up or connection.reconnecting:
            return
        connection.reconnecting = True
        self._scheduler.after(self._rng.uniform(0.005, 0.1), lambda: self._try_to_connect(one, other))

    def _try_to_connect(self, one: NodeId, other: NodeId) -> None:
        connection = self._connection(one, other)
        connection.reconnecting = False
        if connection.up or not (self._is_up(one) and self._is_up(other)):
            return
        if self.lanes[one, other].cut or self.lanes[other, one].cut:
            return  # `clear` tries again
        self._tell(one, other, connection.number)
        connection.up = True
        self._link_up(one, other)
        self._link_up(other, one)

    def _connection(self, one: NodeId, other: NodeId) -> _Connection:
        return self._connections[(one, other) if one < other else (other, one)]
