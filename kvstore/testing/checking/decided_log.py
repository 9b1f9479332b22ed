"""The order that the decided logs give: compared slot by slot, replayed through the model, matched with the requests.

A logged command finds its request by (session, sequence); one without a session by its revision if the request was
answered, else by what it does. The same (session, sequence) decided again changes nothing (L12). Unknown writes that do
the same are told apart only by when they were invoked: the earlier one is taken for the earlier revision, which is
right if anything is.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from kvstore.testing.checking.history import History
from kvstore.testing.checking.model import Action, Model, Response
from kvstore.testing.checking.requests import Request
from kvstore.testing.checking.verdict import Rule, Violation

__all__ = ["Command", "Explained", "LoggedSlot", "Opaque", "explain_by_logs"]


@dataclass(frozen=True, slots=True)
class Opaque:
    """A decided value that does not touch keys: a no-op, a configuration, a session opened. Compared, not replayed."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Command:
    """One entry of a decided value. ``refused``: the state machine did not run it, as its session was gone."""

    action: Action | Opaque
    session: int = 0
    sequence: int = 0
    refused: bool = False


LoggedSlot = tuple[int, tuple[Command, ...]]


@dataclass(slots=True)
class Explained:
    """``unknown_writes``: the requests without an answer that took effect, by their revision."""

    violations: list[Violation] = field(default_factory=list)
    unknown_writes: dict[int, Request] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Run:
    """A command that the model ran, and its complete answer."""

    slot: int
    command: Command
    response: Response
    effective: bool


def explain_by_logs(
    history: History, requests: list[Request], logs: Mapping[Hashable, Iterable[LoggedSlot]]
) -> Explained:
    slots, violations = _merged(logs)
    if violations:
        return Explained(violations)
    replay = _Replay(history, requests)
    for slot in sorted(slots):
        for command in slots[slot]:
            replay.run(slot, command)
    return _Matching(replay, requests).explained


def _merged(logs: Mapping[Hashable, Iterable[LoggedSlot]]) -> tuple[dict[int, tuple[Command, ...]], list[Violation]]:
    slots: dict[int, tuple[Command, ...]] = {}
    first_replica: dict[int, Hashable] = {}
    violations: list[Violation] = []
    for replica, log in logs.items():
        for slot, commands in log:
            decided = slots.setdefault(slot, tuple(commands))
            first = first_replica.setdefault(slot, replica)
            if decided != tuple(commands):
                expected, actual = f"{first}: {decided}", f"{replica}: {tuple(commands)}"
                violations.append(Violation(Rule.AGREEMENT, (), expected, actual, slot=slot))
    if slots:
        violations.extend(
            Violation(Rule.LOG_WHOLE, (), "every slot up to the last", "a hole", slot=slot)
            for slot in range(min(slots), max(slots))
            if slot not in slots
        )
    return slots, violations


class _Replay:
    """Runs the log and compares what was seen at each revision on the way."""

    def __init__(self, history: History, requests: list[Request]) -> None:
        self.violations: list[Violation] = []
        self.by_identity: dict[tuple[int, int], _Run] = {}
        self.by_revision: dict[int, _Run] = {}
        self._model = Model(revision=history.revision, entries=history.entries)
        self._observers: dict[int, list[Request]] = defaultdict(list)
        for request in requests:
            if request.response is not None and not request.effective and not request.identity:
                self._observers[request.response.revision].append(request)
        self._observe()

    def run(self, slot: int, command: Command) -> None:
        identity = (command.session, command.sequence)
        if command.refused or isinstance(command.action, Opaque) or identity in self.by_identity:
            return
        applied = self._model.apply(command.action)
        run = _Run(slot, command, applied.response, bool(applied.changes))
        if command.session:
            self.by_identity[identity] = run
        if run.effective:
            self.by_revision[self._model.revision] = run
            self._observe()

    def unseen(self) -> Iterable[Request]:
        """What was seen at a revision that the log does not reach."""
        return (request for observers in self._observers.values() for request in observers)

    @property
    def revision(self) -> int:
        return self._model.revision

    def _observe(self) -> None:
        for request in self._observers.pop(self._model.revision, ()):
            complete = self._model.apply(request.action)
            self._model.undo(complete)
            assert request.response is not None
            if not request.response.matches(complete.response):
                self.violations.append(differs(request, complete.response))


class _Matching:
    """Finds for each request what the log made of it, and for each command who asked for it."""

    def __init__(self, replay: _Replay, requests: list[Request]) -> None:
        self.explained = Explained(replay.violations)
        self._replay = replay
        self._owned: set[int] = set()  # revisions
        for request in requests:
            if request.identity is not None:
                self._match_session(request, request.identity)
            elif request.response is not None and request.effective:
                self._match_revision(request, request.response)
        for request in replay.unseen():
            self._violate(Rule.RESPONSE, (request,), f"at most revision {replay.revision}", request.response)
        self._match_rest(requests)

    def _match_session(self, request: Request, identity: tuple[int, int]) -> None:
        run = self._replay.by_identity.get(identity)
        if run is None:
            if request.response is not None:
                self._violate(Rule.ACKNOWLEDGED, (request,), f"{identity} in the log", "it was never decided")
            return
        revision = run.response.revision
        self._owned.add(revision if run.effective else 0)
        if run.command.action != request.action:
            self._violate(Rule.THIN_AIR, (request,), request.action, run.command.action, run)
        elif request.failed:
            self._violate(Rule.NEVER, (request,), "not in the log", run.command.action, run)
        elif request.response is None:
            if run.effective:
                self.explained.unknown_writes[revision] = request
        elif not request.response.matches(run.response):
            self.explained.violations.append(differs(request, run.response))

    def _match_revision(self, request: Request, response: Response) -> None:
        run = self._replay.by_revision.get(response.revision)
        if run is None or run.command.session or run.command.action != request.action:
            actual = "nothing" if run is None else run.command
            self._violate(Rule.ACKNOWLEDGED, (request,), request.action, actual, run)
            return
        self._owned.add(response.revision)
        if not response.matches(run.response):
            self.explained.violations.append(differs(request, run.response))

    def _match_rest(self, requests: list[Request]) -> None:
        """Gives each revision that nobody owns yet to an unknown write that does the same."""
        unknown: dict[Action, list[Request]] = defaultdict(list)
        for request in sorted(requests, key=lambda request: -request.invoked_at):
            if request.unknown and request.identity is None:
                unknown[request.action].append(request)
        others: dict[Action, list[Request]] | None = None
        for revision, run in self._replay.by_revision.items():
            if revision in self._owned:
                continue
            action = run.command.action
            assert not isinstance(action, Opaque)
            if not run.command.session and unknown[action]:
                self.explained.unknown_writes[revision] = unknown[action].pop()
                continue
            if others is None:
                others = _by_action(requests)
            same = others[action]
            self._violate(blame(same), tuple(same[:2]), "one request for each change", run.command, run)

    def _violate(
        self, rule: Rule, requests: tuple[Request, ...], expected: object, actual: object, run: _Run | None = None
    ) -> None:
        operations = tuple(operation for request in requests for operation in request.operations)
        slot = None if run is None else run.slot
        revision = None if run is None else run.response.revision
        self.explained.violations.append(Violation(rule, operations, expected, actual, revision, slot))


def differs(request: Request, expected: Response) -> Violation:
    response = request.response
    assert response is not None
    return Violation(Rule.RESPONSE, request.operations, expected, response, revision=response.revision)


def blame(same: list[Request]) -> Rule:
    """Which rule a change breaks for which there is no request left, though these ask for the same."""
    if not same:
        return Rule.THIN_AIR
    return Rule.NEVER if all(request.failed for request in same) else Rule.ONCE


def _by_action(requests: list[Request]) -> dict[Action, list[Request]]:
    found: dict[Action, list[Request]] = defaultdict(list)
    for request in requests:
        found[request.action].append(request)
    return found
