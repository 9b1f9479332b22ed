"""The story, a line a message, as it happens.

A line waits until what the message caused is known, at most ``NEWS_S`` of simulated time. Lines keep the order in which
the messages arrived or were lost.
"""

from collections.abc import Callable
from typing import Final

import click

from kvstore.testing.cli.record import NEWS_S, Arrow, FaultSpan, Mark, MarkKind, Recorder
from kvstore.testing.cli.words import Kind
from kvstore.testing.sim.events import Event

__all__ = ["HEADING", "Story", "line_of"]

_WHAT: Final = 50
_ROUTE: Final = 11
HEADING: Final = f"{'time in ms':>11}  {'from → to':<{_ROUTE}}  {'message':<{_WHAT}}  what it caused"

_COLORS: Final = {
    Kind.PREPARE: "blue",
    Kind.PROMISE: "cyan",
    Kind.ACCEPT: "yellow",
    Kind.ACCEPTED: "green",
    Kind.NACK: "red",
    Kind.SUSPECT: "magenta",
    Kind.HEARTBEAT: "bright_black",
    Kind.CATCH_UP: "bright_cyan",
    Kind.FORWARD: "bright_magenta",
    Kind.TRANSFER: "bright_blue",
    Kind.CLIENT: "white",
}


class Story:
    """Tells what the recorder has, line by line. ``heartbeats``: also those that caused nothing."""

    def __init__(self, recorder: Recorder, tell: Callable[[str], None], *, heartbeats: bool) -> None:
        self._recorder = recorder
        self._tell = tell
        self._heartbeats = heartbeats
        self._told = 0
        self.heartbeats_untold = 0
        self.has_begun = True
        """False while there is only a past, of which nothing is told."""

    def hear(self, event: Event) -> None:
        """To be called after the recorder heard of ``event``."""
        if self.has_begun:
            self._tell_until(event.at - NEWS_S)

    def begin(self) -> None:
        """The recorder forgot the past."""
        self._told = 0
        self.has_begun = True

    def finish(self) -> None:
        self._tell_until(float("inf"))

    def _tell_until(self, time: float) -> None:
        order = self._recorder.order
        while self._told < len(order):
            item = order[self._told]
            if _time_of(item) > time:
                return
            self._told += 1
            if isinstance(item, Arrow) and item.is_idle and not self._heartbeats:
                self.heartbeats_untold += 1
            else:
                self._tell(line_of(item))


def line_of(item: Arrow | Mark | FaultSpan) -> str:
    """With escape sequences for colours: ``click.unstyle`` takes them out."""
    match item:
        case Arrow():
            return _arrow_line(item)
        case Mark(kind=MarkKind.NOTE):
            return click.style(f"\n{item.text}\n", bold=True)
        case Mark():
            return _line(item.at, item.node, item.text, "")
        case FaultSpan():
            return click.style(_line(item.since, "fault", f"{item.kind}: {item.text}", ""), fg="red", bold=True)


def _arrow_line(arrow: Arrow) -> str:
    text = f"{arrow.text} (a copy)" if arrow.copy_of is not None else arrow.text
    color = _COLORS[arrow.kind]
    if arrow.kind is Kind.CLIENT:
        return _line(_time_of(arrow), f"{arrow.sender} → {arrow.to}", text, "", color=color)
    if arrow.lost:
        return _line(_time_of(arrow), f"{arrow.sender} ↛ {arrow.to}", text, f"nothing: {arrow.lost}", color=color)
    effects = ", ".join(dict.fromkeys(mark.text for mark in arrow.effects))
    caused = f"{arrow.to} {effects}" if effects else ""
    return _line(_time_of(arrow), f"{arrow.sender} → {arrow.to}", text, caused, color=color)


def _line(at: float, route: str, what: str, caused: str, *, color: str | None = None) -> str:
    padding = " " * (_WHAT - len(what)) if caused else ""
    told = click.style(what, fg=color) if color else what
    return f"{at * 1000:11.3f}  {route:<{_ROUTE}}  {told}{padding}  {caused}".rstrip()


def _time_of(item: Arrow | Mark | FaultSpan) -> float:
    match item:
        case Arrow():
            assert item.landed_at is not None
            return item.landed_at
        case Mark():
            return item.at
        case FaultSpan():
            return item.since
