"""The faults there are, and the plan of a run: which happen when, to whom, for how long. All drawn from the seed.

A plan is data. A run can be repeated with a part of it, to find out which faults a failure needs: each fault stands
for itself and draws nothing from a shared stream of chance.
"""

import enum
import itertools
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from kvstore.paxos.types import NodeId
from kvstore.testing.sim.kill_switch import KILL_POINTS

__all__ = ["Fault", "FaultKind", "Lanes", "draw_plan"]

Lanes = tuple[tuple[NodeId, NodeId], ...]


class FaultKind(enum.Enum):
    # Lanes
    LOSS = "loss"
    DUPLICATION = "duplication"
    REORDERING = "reordering"
    DELAY = "delay"
    CLOG = "clog"
    ONE_WAY_CUT = "one-way cut"
    # Partitions
    ISOLATION = "isolation"
    SPLIT = "split"
    PARTIAL_PARTITION = "partial partition"
    QUORUM_LOSS = "quorum loss"
    CHAIN = "chain"
    FLAPPING = "flapping"
    # Connections
    RESET = "reset"
    CLIENT_LOSS = "client loss"
    # Processes
    CRASH = "crash"
    KILL_POINT = "kill point"
    RESTART_LOOP = "restart loop"
    PAUSE = "pause"
    POWER_LOSS = "power loss"
    BLACKOUT = "blackout"
    HANDOVER = "handover"
    MEMBERSHIP = "membership"
    # Disks and clocks
    SLOW_DISK = "slow disk"
    DISK_STALL = "disk stall"
    DISK_ERROR = "disk error"
    CLOCK_DRIFT = "clock drift"
    CLOCK_JUMP = "clock jump"


_ON_LANES: Final = (
    FaultKind.LOSS,
    FaultKind.DUPLICATION,
    FaultKind.REORDERING,
    FaultKind.DELAY,
    FaultKind.CLOG,
    FaultKind.ONE_WAY_CUT,
    FaultKind.FLAPPING,
)

_WEIGHTS: Final = {FaultKind.BLACKOUT: 0.3, FaultKind.CLIENT_LOSS: 0.5, FaultKind.KILL_POINT: 3.0}
"""How often a kind comes up against the others, where that is not 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """``node`` is whom it strikes, unless it ``strikes_leader``, whoever that is then. ``lanes`` lists what a fault of
    the network affects; where it is empty, the lanes from or to the node. ``amount`` is what the kind makes of it: a
    chance, a factor, seconds. ``hint_s``: how long until a broken connection is noticed; None: it is not."""

    number: int
    kind: FaultKind
    at: float
    until: float
    node: NodeId
    strikes_leader: bool = False
    lanes: Lanes = ()
    amount: float = 0.0
    point: str = ""
    hint_s: float | None = None

    def __str__(self) -> str:
        whom = "the leader" if self.strikes_leader else f"node {self.node}"
        parts = [" ".join(f"{a}→{b}" for a, b in self.lanes) if self.lanes else whom]
        if self.amount:
            parts.append(f"{self.amount:.3g}")
        if self.point:
            parts.append(self.point)
        return f"{', '.join(parts)} until {self.until:.3f}"


def draw_plan(
    rng: Random,
    *,
    nodes: tuple[NodeId, ...],
    kinds: tuple[FaultKind, ...],
    end_s: float,
    timeout_s: float,
    clock_drift: float = 0.0,
) -> tuple[Fault, ...]:
    """A plan for the time from 0 to ``end_s``; ``timeout_s``, the election timeout, sets the scale.

    ``clock_drift``: by what share two clocks' rates may differ at most; 0: by as much as you like.

    Each plan has a mixture of its own: some faults show only where others are absent.
    """
    if not kinds:
        return ()
    mixture = [kind for kind in kinds if rng.random() < rng.choice((0.3, 0.6, 0.9))] or [rng.choice(kinds)]
    weights = [_WEIGHTS.get(kind, 1.0) for kind in mixture]
    gap_s = end_s / rng.choice((12, 20, 30, 45))
    length_s = timeout_s * rng.choice((0.3, 1.0, 2.0))
    plan: list[Fault] = []
    at = timeout_s * rng.uniform(0.2, 1.0)
    while at < end_s * 0.95:
        kind = rng.choices(mixture, weights)[0]
        until = min(at + length_s * rng.uniform(0.2, 2.0), end_s)
        dice = Random(rng.getrandbits(64))  # noqa: S311  a simulation's
        fault = _draw(dice, kind, nodes, number=len(plan) + 1, at=at, until=until, timeout_s=timeout_s)
        if kind is FaultKind.CLOCK_DRIFT and clock_drift:
            slowest, fastest = 1 - clock_drift / 2, 1 + clock_drift / 2
            fault = replace(fault, amount=min(max(fault.amount, slowest), fastest))
        plan.append(fault)
        at += rng.expovariate(1.0 / gap_s)
    return tuple(plan)


def _draw(
    rng: Random,
    kind: FaultKind,
    nodes: tuple[NodeId, ...],
    *,
    number: int,
    at: float,
    until: float,
    timeout_s: float,
) -> Fault:
    return Fault(
        number=number,
        kind=kind,
        at=at,
        until=until,
        node=rng.choice(nodes),
        strikes_leader=rng.random() < 0.5,
        lanes=_draw_lanes(rng, kind, nodes),
        amount=_draw_amount(rng, kind, timeout_s),
        point=rng.choice(KILL_POINTS) if kind is FaultKind.KILL_POINT else "",
        hint_s=rng.choice((None, rng.uniform(0.0, 0.05), rng.uniform(0.0, 2.0) * timeout_s)),
    )


def _draw_amount(rng: Random, kind: FaultKind, timeout_s: float) -> float:
    match kind:
        case FaultKind.LOSS | FaultKind.CLIENT_LOSS:
            return rng.choice((0.02, 0.1, 0.3))
        case FaultKind.DUPLICATION | FaultKind.REORDERING:
            return rng.choice((0.05, 0.2, 0.5))
        case FaultKind.DELAY:
            return timeout_s * rng.choice((0.01, 0.05, 0.3))
        case FaultKind.FLAPPING:
            return timeout_s * rng.uniform(0.05, 0.5)
        case FaultKind.SLOW_DISK:
            return rng.choice((3.0, 10.0, 50.0))
        case FaultKind.DISK_STALL:
            return timeout_s * rng.uniform(0.1, 1.0)
        case FaultKind.CLOCK_DRIFT:
            return rng.choice((0.5, 0.9, 1.1, 2.0))
        case FaultKind.CLOCK_JUMP:
            return timeout_s * rng.choice((0.1, 1.0, 10.0))
        case FaultKind.KILL_POINT:
            return float(rng.randint(1, 6))
        case _:
            return 0.0


def _draw_lanes(rng: Random, kind: FaultKind, nodes: tuple[NodeId, ...]) -> Lanes:
    """Empty: those of the node that the fault strikes."""
    pairs = [(a, b) for a in nodes for b in nodes if a != b]
    links = [(a, b) for a, b in pairs if a < b]
    if not links:
        return ()
    order = rng.sample(nodes, len(nodes))
    if kind in _ON_LANES:
        scope = rng.random()
        if scope < 0.3:
            return ()
        if scope < 0.6 and kind is not FaultKind.ONE_WAY_CUT:
            return tuple(pairs)
        return tuple(sorted(rng.sample(pairs, rng.randint(1, max(1, len(pairs) // 3)))))
    match kind:
        case FaultKind.SPLIT:
            left = order[: rng.randint(1, len(order) - 1)]
            return tuple((a, b) for a, b in pairs if (a in left) != (b in left))
        case FaultKind.PARTIAL_PARTITION:
            return _both_ways(rng.sample(links, rng.randint(1, len(links))))
        case FaultKind.QUORUM_LOSS:  # everybody reaches one hub, and nobody else
            return _both_ways([link for link in links if order[0] not in link])
        case FaultKind.CHAIN:
            neighbours = {frozenset(pair) for pair in itertools.pairwise(order)}
            return _both_ways([link for link in links if frozenset(link) not in neighbours])
        case FaultKind.RESET:
            return tuple(sorted(rng.sample(links, rng.randint(1, len(links)))))
        case _:
            return ()


def _both_ways(links: list[tuple[NodeId, NodeId]]) -> Lanes:
    return tuple(lane for a, b in sorted(links) for lane in ((a, b), (b, a)))
