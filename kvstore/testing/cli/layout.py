"""Where things are in a space–time diagram: a lane per client and node, time flows down.

Time has no constant scale: where much happens it is stretched until every label has a line of its own, where nothing
does it is cut short. Labels stand in the gaps between lanes, and no two in one gap share a line.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Final

from kvstore.testing.cli.record import Arrow, FaultSpan, Lane, Mark, MarkKind, Recorder

__all__ = ["BREAK_PX", "LANE_PX", "TOP_PX", "Layout", "Placed", "Span", "spans_of"]

LANE_PX: Final = 244
CLIENT_PX: Final = 170
LEFT_PX: Final = 150
TOP_PX: Final = 64
LINE_PX: Final = 16
BREAK_PX: Final = 44
"""How long a time may look in which nothing is told."""
_PX_PER_S: Final = 3000.0
_NOTE_PX: Final = 34

SILENT: Final = (MarkKind.FOLLOWS, MarkKind.LEADERLESS, MarkKind.LEARNED, MarkKind.REFUSED)
"""What has a dot at most, and no label."""


@dataclass(slots=True)
class Placed:
    """An arrow, a mark or a fault's beginning or end, and where. ``from_y`` is where an arrow leaves."""

    item: Arrow | Mark | FaultSpan
    y: float
    from_y: float = 0.0
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a lane: ``what`` is leads, stands, down or paused."""

    lane: Lane
    what: str
    text: str
    since: float
    until: float


@dataclass(slots=True)
class Layout:
    recorder: Recorder
    lanes: list[Lane] = field(init=False)
    placed: list[Placed] = field(default_factory=list)
    breaks: list[tuple[float, float]] = field(default_factory=list)
    """(y, seconds) of stretches that are cut short."""
    _times: list[float] = field(default_factory=list)
    _ys: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lanes = [*self.recorder.clients, *self.recorder.nodes]
        self._place()

    def x(self, lane: Lane) -> float:
        return self._x_of(self.lanes.index(lane))

    @property
    def width(self) -> float:
        return self._x_of(len(self.lanes))

    def _x_of(self, index: int) -> float:
        """Clients stand closer to each other: little happens between them."""
        closer = min(index, max(0, len(self.recorder.clients) - 1))
        return LEFT_PX + 40 + CLIENT_PX * closer + LANE_PX * (index - closer)

    @property
    def height(self) -> float:
        return (self._ys[-1] if self._ys else TOP_PX) + 50

    def y(self, time: float) -> float:
        """Of any moment: between those that have a place, in proportion."""
        if not self._times:
            return TOP_PX
        after = bisect_right(self._times, time)
        if after == 0:
            return self._ys[0]
        if after == len(self._times):
            return self._ys[-1]
        before = after - 1
        share = (time - self._times[before]) / (self._times[after] - self._times[before])
        return self._ys[before] + share * (self._ys[after] - self._ys[before])

    def gap_of(self, item: Arrow | Mark) -> int | None:
        """The gap between lanes in which the label stands: gap i is to the right of lane i."""
        if isinstance(item, Mark):
            return self.lanes.index(item.node) if item.kind not in SILENT else None
        if item.is_idle:
            return None
        sender, to = self.lanes.index(item.sender), self.lanes.index(item.to)
        if is_broken(item, self.recorder):
            return sender if to > sender else sender - 1
        return to - 1 if to > sender else to

    def _place(self) -> None:
        moments: list[tuple[float, int, int, Arrow | Mark | FaultSpan, str]] = []
        for order, arrow in enumerate(self.recorder.arrows):
            if not arrow.is_idle:
                moments.append((arrow.sent_at, 1, order, arrow, "leaves"))
                if arrow.landed_at is not None:
                    moments.append((arrow.landed_at, 2, order, arrow, "lands"))
        for order, mark in enumerate(self.recorder.marks):
            moments.append((mark.at, 0 if mark.kind is MarkKind.NOTE else 3, order, mark, "mark"))
        for order, span in enumerate(self.recorder.faults):
            moments.append((span.since, 0, order, span, "begins"))
            if span.until is not None:
                moments.append((span.until, 0, order, span, "ends"))
        moments.sort(key=lambda m: m[:3])
        self._walk(moments)

    def _walk(self, moments: list[tuple[float, int, int, Arrow | Mark | FaultSpan, str]]) -> None:
        used = [TOP_PX - LINE_PX + 20.0] * len(self.lanes)
        leaves: dict[int, float] = {}
        y, time = TOP_PX + 20.0, moments[0][0] if moments else 0.0
        for at, _, _, item, what in moments:
            passed_px = (at - time) * _PX_PER_S
            if passed_px > 3 * BREAK_PX:
                self.breaks.append((y + BREAK_PX / 2, at - time))
            y += min(passed_px, BREAK_PX)
            time = at
            if what == "leaves":
                leaves[id(item)] = y
            elif isinstance(item, FaultSpan) or item.kind is MarkKind.NOTE:
                y = max(y, *used) + _NOTE_PX / 2
                self.placed.append(Placed(item, y, ends=what == "ends"))
                y += _NOTE_PX / 2 + 2
                used = [y - LINE_PX + 4] * len(used)
            else:
                gap = self.gap_of(item)
                if gap is not None:
                    y = max(y, used[gap] + LINE_PX)
                    used[gap] = y
                self.placed.append(Placed(item, y, from_y=leaves.get(id(item), y)))
            if self._times and self._times[-1] == at:
                self._ys[-1] = y
            else:
                self._times.append(at)
                self._ys.append(y)


def is_broken(arrow: Arrow, recorder: Recorder) -> bool:
    """Lost on the way between nodes; a client's answer that says no has arrived all the same."""
    return bool(arrow.lost) and arrow.sender in recorder.nodes and arrow.to in recorder.nodes


def spans_of(recorder: Recorder) -> list[Span]:
    """How long nodes led, stood, were down or paused; up to the end where that had no end."""
    spans: list[Span] = []
    begun: dict[tuple[Lane, str], tuple[float, str]] = {
        (m.node, "leads" if m.kind is MarkKind.LEADS else "stands"): (recorder.began_at, str(m.ballot))
        for m in recorder.at_first
    }

    def end(lane: Lane, what: str, at: float) -> None:
        if (lane, what) in begun:
            since, text = begun.pop((lane, what))
            spans.append(Span(lane, what, text, since, at))

    for mark in recorder.marks:
        starts, stops = _CHANGES.get(mark.kind, ("", ()))
        for what in stops:
            end(mark.node, what, mark.at)
        if starts:
            begun[mark.node, starts] = (mark.at, str(mark.ballot) if mark.ballot else "")
    for lane, what in list(begun):
        end(lane, what, recorder.now)
    return spans


_CHANGES: Final[dict[MarkKind, tuple[str, tuple[str, ...]]]] = {
    MarkKind.LEADS: ("leads", ("stands", "leads")),
    MarkKind.STANDS: ("stands", ("stands", "leads")),
    MarkKind.FOLLOWS: ("", ("stands", "leads")),
    MarkKind.LEADERLESS: ("", ("stands", "leads")),
    MarkKind.CRASHED: ("down", ("stands", "leads", "paused")),
    MarkKind.STARTED: ("", ("down",)),
    MarkKind.PAUSED: ("paused", ()),
    MarkKind.RESUMED: ("", ("paused",)),
}
