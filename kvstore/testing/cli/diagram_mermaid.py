"""A story as a Mermaid sequence diagram: for pages and pull requests. Mermaid has an order but no scale of time.

Messages stand where they arrive or are lost, each followed by what it caused.
"""

import itertools
from collections.abc import Sequence
from typing import Final

from kvstore.testing.cli.record import Arrow, FaultSpan, Lane, Mark, MarkKind, Recorder

__all__ = ["mermaid"]

_QUIET: Final = (MarkKind.LEADERLESS, MarkKind.REFUSED)
"""What is plain from the message that brings it about."""
_FORBIDDEN: Final = str.maketrans({";": ",", "#": " ", "\n": " ", "<": "(", ">": ")", "|": "/"})
"""A semicolon would end the statement, a hash begin an entity."""


def mermaid(recorder: Recorder) -> str:
    """Heartbeats that caused nothing, and those that never arrived, are left out."""
    lines = ["sequenceDiagram"]
    lines += [f"    actor {client}" for client in recorder.clients]
    lines += [f"    participant {_name(node)} as node {node}" for node in recorder.nodes]
    statements = [statement for item in recorder.order for statement in _statements(item, recorder)]
    lines += [f"    {statement}" for statement in _together(statements)]
    return "\n".join([*lines, ""])


def _together(statements: list[str]) -> list[str]:
    """What is said again at once is said once with a count, and one lane's notes in a row are one note."""
    together: list[str] = []
    for statement, same in itertools.groupby(statements):
        times = len(list(same))
        note, _, text = statement.partition(": ")
        if note.startswith("Note over") and "," not in note and together and together[-1].startswith(f"{note}: "):
            together[-1] += f", {text}"
        else:
            together.append(f"{statement} ({times} times)" if times > 1 else statement)
    return together


def _statements(item: Arrow | Mark | FaultSpan, recorder: Recorder) -> list[str]:
    everybody = f"{_name(recorder.nodes[0])},{_name(recorder.nodes[-1])}"
    match item:
        case Arrow():
            if item.is_idle:
                return []
            head = "-x" if item.lost and item.sender in recorder.nodes and item.to in recorder.nodes else "->>"
            copy = " (a copy)" if item.copy_of is not None else ""
            message = f"{_name(item.sender)}{head}{_name(item.to)}: {_clean(item.text)}{copy}"
            return [message, *_note(item.to, [mark for mark in item.effects if mark.kind not in _QUIET])]
        case Mark(kind=MarkKind.NOTE):
            return [f"Note over {everybody}: {_clean(item.text)}"]
        case Mark():
            return _note(item.node, [item])
        case FaultSpan():
            return [f"Note over {everybody}: {item.kind}: {_clean(item.text)}"]


def _note(lane: Lane, marks: Sequence[Mark]) -> list[str]:
    texts = dict.fromkeys(_clean(mark.text) for mark in marks)
    return [f"Note over {_name(lane)}: {', '.join(texts)}"] if texts else []


def _name(lane: Lane) -> str:
    return f"n{lane}" if lane.isdigit() else lane


def _clean(text: str) -> str:
    return text.translate(_FORBIDDEN)
