"""The order that the answers alone give, and which unknown write made each revision that nobody was told of.

Every revision up to the highest one answered was made by an acknowledged write or by an unknown one; the latter are
the **gaps**. An unknown write fits a gap if it was invoked before anything that came later had returned, if it changes
something there, and if nothing that was read contradicts it. The replay goes through the revisions in order, fills a
gap with the likeliest write and, at a contradiction, comes back for the next one. Evidence leaves mostly one choice.

The search is complete up to ``_STEPS_PER_REVISION``: within it, "no" means that no choice explains the answers. Past it
the last contradiction is returned as undecided, unless it concerns keys that no unknown write touches: it stands then
whatever the choice.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from kvstore.testing.checking.decided_log import differs
from kvstore.testing.checking.evidence import Evidence, written
from kvstore.testing.checking.history import History
from kvstore.testing.checking.model import Action, Applied, Delete, KeyValue, Model, Range, covers
from kvstore.testing.checking.real_time import deadlines
from kvstore.testing.checking.requests import Request
from kvstore.testing.checking.verdict import Rule, Verdict, Violation

__all__ = ["explain_by_answers"]

_STEPS_PER_REVISION = 10
_STEPS_MIN = 100_000


def explain_by_answers(history: History, requests: list[Request]) -> Verdict:
    """The requests are known to keep real time among themselves and to have revisions of their own."""
    answered = [request for request in requests if request.response is not None]
    unknown = sorted((request for request in requests if request.unknown), key=lambda request: request.invoked_at)
    acknowledged = {_revision(request): request for request in answered if request.effective}
    violations = [
        Violation(Rule.RESPONSE, request.operations, f"a revision after {history.revision}", request.response)
        for request in answered
        if _revision(request) < history.revision + request.effective
    ]
    last = max((_revision(request) for request in answered), default=history.revision)
    missing = last - history.revision - len(acknowledged)
    if violations:
        return Verdict(tuple(violations))
    if missing > len(unknown):
        highest = max(answered, key=_revision)
        expected = f"at most {len(unknown)} changes by the unknown writes"
        actual = f"{missing} revisions up to {last} that no answer explains"
        return Verdict((_too_many(requests, highest, expected, actual),))
    gaps = [revision for revision in range(history.revision + 1, last + 1) if revision not in acknowledged]
    placed = [(request.position, request) for request in answered]
    due = dict(zip(gaps, deadlines(placed, [2 * revision for revision in gaps]), strict=True))
    evidence = Evidence(history, requests, acknowledged)
    evidence.assign({revision: due[revision] for revision in evidence.seen})
    if evidence.violations:
        return Verdict(tuple(evidence.violations))
    replay = _Replay(history=history, answered=answered, unknown=unknown, evidence=evidence, due=due, last=last)
    return replay.verdict()


def _too_many(requests: list[Request], highest: Request, expected: str, actual: str) -> Violation:
    failed = tuple(operation for request in requests if request.failed for operation in request.operations)
    rule = Rule.NEVER if failed else Rule.THIN_AIR
    return Violation(rule, (*highest.operations, *failed[:2]), expected, actual, revision=_revision(highest))


@dataclass(slots=True)
class _Choice:
    revision: int
    candidates: Iterator[int]
    trail: int  # its length before the choice


@dataclass(slots=True)
class _Step:
    applied: Applied
    taken: int | None  # the index of the unknown write


@dataclass(slots=True)
class _Touched:
    """The unknown writes of one key that put, or that delete, or those of one interval (``key`` None)."""

    key: bytes | None
    deletes: bool
    indexes: list[int] = field(default_factory=list)


class _Replay:
    def __init__(
        self,
        *,
        history: History,
        answered: list[Request],
        unknown: list[Request],
        evidence: Evidence,
        due: dict[int, float],
        last: int,
    ) -> None:
        self._first, self._last = history.revision, last
        self._model = Model(revision=history.revision, entries=history.entries)
        self._unknown = unknown
        self._invoked = [request.invoked_at for request in unknown]
        self._evidence = evidence
        self._due = due
        self._acknowledged: dict[int, Request] = {}
        self._observers: dict[int, list[Request]] = defaultdict(list)
        for request in answered:
            if request.effective:
                self._acknowledged[_revision(request)] = request
            else:
                self._observers[_revision(request)].append(request)
        self._trail: list[_Step] = []
        self._choices: list[_Choice] = []
        self._used = 0  # bits
        self._dead_ends: set[object] = set()
        self._backtracked = False
        self._touched, self._by_effect = self._index()

    def verdict(self) -> Verdict:
        revision, deepest = self._first + 1, self._first
        conflict = self._observe(self._first)
        if conflict is not None:
            return Verdict((conflict,))
        budget = _STEPS_MIN + _STEPS_PER_REVISION * (self._last - self._first)
        while revision <= self._last:
            budget -= 1
            found = self._known(revision) if revision in self._acknowledged else self._gap(revision)
            if found is None:
                revision += 1
                continue
            if conflict is None or revision > deepest:
                conflict, deepest = found, revision
            if self._is_final(found):
                return Verdict((found,))
            if budget < 0:
                return Verdict(undecided=conflict)
            back = self._back()
            if back is None:
                return Verdict((conflict,))
            revision = back + 1
        return Verdict()

    # One revision. Each returns what contradicts it, None if nothing does

    def _known(self, revision: int) -> Violation | None:
        request = self._acknowledged[revision]
        applied = self._model.apply(request.action)
        self._trail.append(_Step(applied, None))
        assert request.response is not None
        if not request.response.matches(applied.response):
            return differs(request, applied.response)
        return self._observe(revision)

    def _gap(self, revision: int) -> Violation | None:
        if self._backtracked:
            state = (revision, self._used, self._undetermined())
            if state in self._dead_ends:
                return self._unexplained(revision)
            self._dead_ends.add(state)
        self._choices.append(_Choice(revision, self._candidates(revision), len(self._trail)))
        return self._try(self._choices[-1])

    def _try(self, choice: _Choice) -> Violation | None:
        """Takes the next candidate that changes something and that nothing seen at this revision contradicts."""
        conflict = None
        for index in choice.candidates:
            applied = self._model.apply(self._unknown[index].action)
            if applied.changes:
                conflict = self._observe(choice.revision)
                if conflict is None:
                    self._trail.append(_Step(applied, index))
                    self._used |= 1 << index
                    return None
            self._model.undo(applied)
        return conflict or self._unexplained(choice.revision)

    def _observe(self, revision: int) -> Violation | None:
        for request in self._observers.get(revision, ()):
            complete = self._model.apply(request.action)
            self._model.undo(complete)
            assert request.response is not None
            if not request.response.matches(complete.response):
                return differs(request, complete.response)
        return None

    def _back(self) -> int | None:
        """Steps back to the last gap that has another candidate, and takes it. None if there is none."""
        self._backtracked = True
        while self._choices:
            choice = self._choices[-1]
            while len(self._trail) > choice.trail:
                step = self._trail.pop()
                self._model.undo(step.applied)
                if step.taken is not None:
                    self._used &= ~(1 << step.taken)
            if self._try(choice) is None:
                return choice.revision
            self._choices.pop()
        return None

    # Which unknown write

    def _index(self) -> tuple[list[_Touched], dict[tuple[bytes, bytes], list[int]]]:
        touched: dict[object, _Touched] = {}
        by_effect: dict[tuple[bytes, bytes], list[int]] = defaultdict(list)
        for index, request in enumerate(self._unknown):
            action, effect = request.action, written(request.action)
            wide = action.range_end if isinstance(action, Delete) else b""
            one = touched.setdefault(
                (action.key, wide, effect is None), _Touched(None if wide else action.key, effect is None)
            )
            one.indexes.append(index)
            if effect is not None:
                by_effect[effect].append(index)
        return list(touched.values()), by_effect

    def _candidates(self, revision: int) -> Iterator[int]:
        """The likeliest first: what must have happened soonest, by what is seen next. Each action once."""
        end = bisect_right(self._invoked, self._due[revision])
        entry = self._evidence.seen.get(revision)
        tried: set[Action] = set()
        if entry is not None:
            groups = [self._by_effect[entry.key, entry.value]]
        else:
            ranked = [(self._rank(touched, revision), touched.indexes) for touched in self._touched]
            groups = [indexes for rank, indexes in sorted(ranked, key=lambda one: one[0]) if rank <= self._last + 2]
        for indexes in groups:
            for index in indexes:
                if index >= end:
                    break
                action = self._unknown[index].action
                if not self._used >> index & 1 and action not in tried:
                    tried.add(action)
                    yield index

    def _rank(self, touched: _Touched, revision: int) -> int:
        """The state by which a change is needed that no known write explains; above the last one if none is.

        Then last + 1: a change does no harm; last + 2: another one must undo it; last + 3: it cannot have been.
        """
        harmless, to_undo, impossible = (self._last + more for more in (1, 2, 3))
        seen = None if touched.key is None else self._evidence.next_seen(touched.key, revision)
        if touched.key is None or seen is None:
            return harmless if not touched.deletes else to_undo
        state, entry = seen
        current = self._model.get(touched.key)
        if entry is not None and entry.create_revision < revision:
            # The key lives from before until it is seen: its version counts every write in between.
            if touched.deletes or current is None or entry.mod_revision < revision:
                return impossible
            expected = self._evidence.known_writes(touched.key, revision, entry.mod_revision)
            expected += entry.mod_revision in self._evidence.seen
            return entry.mod_revision if entry.version > current.version + expected else impossible
        until = state if entry is None else entry.create_revision
        if self._evidence.known_writes(touched.key, revision, until - (entry is not None)):
            return harmless if not touched.deletes else to_undo
        return until if touched.deletes and current is not None else to_undo

    def _undetermined(self) -> tuple[KeyValue | None, ...]:
        """The entries that depend on the choices; all others follow from the revision."""
        keys = [touched.key for touched in self._touched if touched.key is not None]
        if len(keys) < len(self._touched):
            return self._model.snapshot()
        return tuple(self._model.get(key) for key in keys)

    # Words for what is wrong

    def _unexplained(self, revision: int) -> Violation:
        request = next(
            (found for at in range(revision, self._last + 1) for found in self._at(at)),
            None,
        )
        assert request is not None, "the last revision was answered"
        return Violation(
            Rule.THIN_AIR, request.operations, "a write that made the revision", "none that fits", revision=revision
        )

    def _at(self, revision: int) -> list[Request]:
        writer = self._acknowledged.get(revision)
        return self._observers.get(revision, []) if writer is None else [writer]

    def _is_final(self, conflict: Violation) -> bool:
        """Whether no unknown write touches the keys in question, so that no other choice would help."""
        if conflict.rule is not Rule.RESPONSE:
            return False
        action = conflict.operations[0].action
        return not any(_overlap(action, request.action) for request in self._unknown)


def _revision(request: Request) -> int:
    assert request.response is not None
    return request.response.revision


def _overlap(one: Action, other: Action) -> bool:
    """Whether some key is covered by both: the one that begins later begins inside the other."""
    if one.key > other.key:
        one, other = other, one
    if one.key == other.key:
        return True
    if not isinstance(one, Range | Delete) or not one.range_end:
        return False
    return covers(one, other.key)
