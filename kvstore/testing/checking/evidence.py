"""What the answers say about single keys: which entries were seen, and where each key was next seen or written.

An entry names the revision that wrote it, so it testifies about that revision wherever it is read. This finds, without
any search, the values that nobody wrote, that a failed write left or that one write left twice.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable

from kvstore.testing.checking.decided_log import blame
from kvstore.testing.checking.history import History
from kvstore.testing.checking.model import Action, CompareAndSwap, Delete, KeyValue, Put, Range, covers
from kvstore.testing.checking.requests import Request
from kvstore.testing.checking.verdict import Rule, Violation

__all__ = ["Evidence", "written"]

_ABSENCES_NOTED_MAX = 32  # of one range


def written(action: Action) -> tuple[bytes, bytes] | None:
    """The key and value that the action leaves if it takes effect; None for a read and a deletion."""
    match action:
        case Put():
            return action.key, action.value
        case CompareAndSwap() if action.value is not None:
            return action.key, action.value
        case _:
            return None


class Evidence:
    """``seen``: by unexplained revision, the entry that was seen of it."""

    def __init__(self, history: History, requests: list[Request], acknowledged: dict[int, Request]) -> None:
        self.seen: dict[int, KeyValue] = {}
        self.violations: list[Violation] = []
        self._acknowledged = acknowledged
        self._requests = requests
        self._entries: dict[tuple[bytes, int], tuple[KeyValue, Request]] = {}
        self._sights: dict[bytes, list[tuple[int, KeyValue | None]]] = defaultdict(list)
        self._writes: dict[bytes, list[int]] = defaultdict(list)
        self._initial = {entry.key: entry for entry in history.entries}
        self._revision = history.revision
        deletable = _deletable(history, requests)
        for request in requests:
            if request.response is not None:
                self._take(request, deletable)
        for revision, request in sorted(acknowledged.items()):
            self._writes[request.action.key].append(revision)
        self._states = {}
        for key, sights in self._sights.items():
            sights.sort(key=lambda sight: sight[0])
            self._states[key] = [state for state, _ in sights]

    def next_seen(self, key: bytes, revision: int) -> tuple[int, KeyValue | None] | None:
        """The first state at or after the revision in which the key was seen, and what was seen."""
        states = self._states.get(key)
        if states is None:
            return None
        found = bisect_left(states, revision)
        return self._sights[key][found] if found < len(states) else None

    def known_writes(self, key: bytes, first: int, last: int) -> int:
        """How many acknowledged writes named the key in the revisions from ``first`` to ``last``."""
        revisions = self._writes.get(key, [])
        return bisect_right(revisions, last) - bisect_left(revisions, first)

    def _take(self, request: Request, deletable: list[bytes]) -> None:
        response, action = request.response, request.action
        assert response is not None
        state = response.revision - request.effective
        if response.entries is None:
            return
        for entry in response.entries:
            self._testify(entry, state, request)
            self._sights[entry.key].append((state, entry))
        if isinstance(action, Range) and action.limit and response.count != len(response.entries):
            return
        absent = _covered(deletable, action)
        if len(absent) > _ABSENCES_NOTED_MAX:
            return  # a hint less for the search, and the work stays linear
        present = {entry.key for entry in response.entries}
        for key in absent:
            if key not in present:
                self._sights[key].append((state, None))

    def _testify(self, entry: KeyValue, state: int, request: Request) -> None:
        first, witness = self._entries.setdefault((entry.key, entry.mod_revision), (entry, request))
        if witness is not request:
            if first != entry:
                self._violate(Rule.RESPONSE, (witness, request), first, entry, entry.mod_revision)
            if entry.mod_revision <= state:
                return
        if entry.mod_revision > state:
            self._violate(Rule.RESPONSE, (request,), f"entries of the state {state}", entry, state)
        elif entry.mod_revision <= self._revision:
            if self._initial.get(entry.key) != entry:
                self._violate(Rule.RESPONSE, (request,), self._initial.get(entry.key), entry, entry.mod_revision)
        elif (writer := self._acknowledged.get(entry.mod_revision)) is not None:
            if written(writer.action) != (entry.key, entry.value):
                self._violate(Rule.RESPONSE, (writer, request), writer.action, entry, entry.mod_revision)
        elif self.seen.setdefault(entry.mod_revision, entry) != entry:
            first = self.seen[entry.mod_revision]
            self._violate(Rule.RESPONSE, (request,), f"one change: {first}", entry, entry.mod_revision)

    def assign(self, due: dict[int, float]) -> None:
        """Checks that every seen entry has an unknown write of its own, invoked by the time it was due."""
        unknown: dict[tuple[bytes, bytes], list[Request]] = defaultdict(list)
        for request in sorted(self._requests, key=lambda request: request.invoked_at):
            effect = written(request.action)
            if request.unknown and effect is not None:
                unknown[effect].append(request)
        taken: dict[tuple[bytes, bytes], int] = defaultdict(int)
        for revision, entry in sorted(self.seen.items()):
            effect = (entry.key, entry.value)
            index = taken[effect]
            taken[effect] += 1
            witness = self._entries[entry.key, revision][1]
            if index >= len(unknown[effect]):
                same = [request for request in self._requests if written(request.action) == effect]
                rule = blame(same)
                self._violate(rule, (*same[:2], witness), "a write of its own for each entry", entry, revision)
            elif unknown[effect][index].invoked_at > due[revision]:
                writer = unknown[effect][index]
                expected = f"a write invoked by {due[revision]}"
                self._violate(Rule.REAL_TIME, (writer, witness), expected, entry, revision)

    def _violate(
        self, rule: Rule, requests: Iterable[Request], expected: object, actual: object, revision: int
    ) -> None:
        operations = tuple(operation for request in requests for operation in request.operations)
        self.violations.append(Violation(rule, operations, expected, actual, revision=revision))


def _deletable(history: History, requests: list[Request]) -> list[bytes]:
    """The keys, sorted, that an unknown deletion may have taken away: only their absence needs noting."""
    deletions = [
        request.action
        for request in requests
        if request.unknown and not isinstance(request.action, Put) and written(request.action) is None
    ]
    if not deletions:
        return []
    keys = {entry.key for entry in history.entries}
    keys.update(effect[0] for request in requests if (effect := written(request.action)) is not None)
    return sorted(key for key in keys if any(covers(action, key) for action in deletions))


def _covered(keys: list[bytes], action: Action) -> list[bytes]:
    if not isinstance(action, Range | Delete) or not action.range_end:
        at = bisect_left(keys, action.key)
        return keys[at : at + 1] if at < len(keys) and keys[at] == action.key else []
    end = len(keys) if action.range_end == b"\0" else bisect_left(keys, action.range_end)
    return keys[bisect_left(keys, action.key) : end]
