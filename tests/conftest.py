"""How the suite runs, whoever starts it: what takes longest begins first, and programs hear interrupts."""

import signal

import pytest

_LONGEST_FIRST = ("sim", "mutants", "e2e")
"""Lest one of several processes ends long after the others."""

_ROOMS = {room: place for place, room in enumerate(_LONGEST_FIRST)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Rooms as listed, then the others as they come; within a room nothing changes."""
    items.sort(key=lambda item: _ROOMS.get(item.path.parent.name, len(_ROOMS)))


def pytest_configure() -> None:
    """What a shell starts in the background ignores SIGINT, and so does all that it starts: tests send that signal."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
