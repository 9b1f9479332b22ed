"""The order of the suite: what takes longest begins first, lest one of several processes ends long after the others."""

import pytest

_LONGEST_FIRST = ("sim", "mutants", "e2e")
_ROOMS = {room: place for place, room in enumerate(_LONGEST_FIRST)}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Rooms as listed, then the others as they come; within a room nothing changes."""
    items.sort(key=lambda item: _ROOMS.get(item.path.parent.name, len(_ROOMS)))
