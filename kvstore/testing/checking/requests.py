"""Requests: the operations of a history, those of one (session, sequence) merged into one.

A request takes effect once, after the first attempt that may have reached the store was invoked and before the first
answer came back.
"""

import functools
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

from kvstore.testing.checking.history import Failed, Operation
from kvstore.testing.checking.model import Action, CompareAndSwap, Delete, Put, Range, Response
from kvstore.testing.checking.verdict import Rule, Violation

__all__ = ["Request", "merge"]


@dataclass(eq=False, slots=True)
class Request:
    """``response`` None: unknown, or ``failed``. ``returned_at`` is infinite if there was no answer."""

    operations: tuple[Operation, ...]
    action: Action
    invoked_at: float
    returned_at: float
    response: Response | None
    failed: bool
    identity: tuple[int, int] | None

    @property
    def unknown(self) -> bool:
        return self.response is None and not self.failed

    @property
    def effective(self) -> bool:
        """Whether its answer says that it took a revision of its own."""
        response, action = self.response, self.action
        assert response is not None
        match action:
            case Put():
                return True
            case Range():
                return False
            case Delete():
                return bool(response.count)
            case CompareAndSwap():
                # A compare with 0 holds only for a key that is not there: then a delete has nothing to do.
                return bool(response.succeeded) and (action.value is not None or action.expected != 0)

    @property
    def position(self) -> int:
        """Its place in the order that the answers give: the write of revision r, then what saw it, then r + 1."""
        assert self.response is not None
        return 2 * self.response.revision + (not self.effective)


def merge(operations: Iterable[Operation]) -> tuple[list[Request], list[Violation]]:
    """Reads that got no answer say nothing and are left out."""
    requests: list[Request] = []
    violations: list[Violation] = []
    groups: dict[tuple[int, int], list[Operation]] = {}
    for operation in operations:
        if operation.session:
            groups.setdefault((operation.session, operation.sequence), []).append(operation)
        elif isinstance(operation.outcome, Response) or not isinstance(operation.action, Range):
            requests.append(_request((operation,), None))
    for identity, group in groups.items():
        requests.append(_request(tuple(group), identity))
        violations.extend(_differences(group))
    return requests, violations


def _request(operations: tuple[Operation, ...], identity: tuple[int, int] | None) -> Request:
    first = operations[0]
    if len(operations) == 1 and isinstance(first.outcome, Response):
        assert first.returned_at is not None
        times = (first.invoked_at, first.returned_at)
        return Request(operations, first.action, *times, first.outcome, failed=False, identity=identity)
    open_to = [one for one in operations if not isinstance(one.outcome, Failed)]
    answers = [one.outcome for one in operations if isinstance(one.outcome, Response)]
    returns = [one.returned_at for one in operations if isinstance(one.outcome, Response)]
    return Request(
        operations,
        first.action,
        min(one.invoked_at for one in open_to or operations),
        min((at for at in returns if at is not None), default=math.inf),
        functools.reduce(_completed, answers) if answers else None,
        failed=not open_to,
        identity=identity,
    )


def _differences(group: list[Operation]) -> Iterable[Violation]:
    for other in group[1:]:
        if group[0].action != other.action:
            yield Violation(Rule.SAME_ANSWER, (group[0], other), group[0].action, other.action)
    answered = [(one, one.outcome) for one in group if isinstance(one.outcome, Response)]
    for (first, one), (other, answer) in itertools.combinations(answered, 2):
        if not one.matches(_completed(answer, one)):
            yield Violation(Rule.SAME_ANSWER, (first, other), one, answer)
            return


def _completed(response: Response, other: Response) -> Response:
    """With what the other one recorded and this one did not."""
    return Response(
        response.revision,
        other.entries if response.entries is None else response.entries,
        other.count if response.count is None else response.count,
        other.succeeded if response.succeeded is None else response.succeeded,
    )
