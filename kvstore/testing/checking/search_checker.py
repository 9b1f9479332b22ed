"""Linearizability by search, for short histories, independent of ``linear_checker``.

Wing and Gong's algorithm with Lowe's memoization: take as the next operation any that no other unfinished one precedes
in real time, try it on the model, go on if the answer fits, step back if not; a (set of operations done, state) that
led nowhere once is not entered again. The model's state includes the answers given to each (session, sequence): an
operation that repeats one takes no effect and gets the first answer. An unknown write may be taken at any time after
its invocation, or never; a failed one is not there at all.

It asks exactly what ``linear_checker.check`` asks of answers alone, so on every short history the two must agree,
unless that one is undecided. Without revisions (``revisions=False``) it asks for less: revisions in answers are not
compared, so whatever the linear checker accepts, this accepts, and not the other way round.
"""

from collections.abc import Iterator

from kvstore.testing.checking.history import Failed, History, Operation
from kvstore.testing.checking.model import Model, Range, Response

__all__ = ["OPERATIONS_MAX", "search"]

OPERATIONS_MAX = 25

_Answers = dict[tuple[int, int], tuple[Operation, Response]]


def search(history: History, *, revisions: bool = True) -> list[Operation] | None:
    """An order that explains the history, None if there is none. Raises ValueError if the history is too long."""
    operations = [one for one in history.operations if _can_matter(one)]
    if len(operations) > OPERATIONS_MAX:
        raise ValueError(f"{len(operations)} operations are too many to search, the limit is {OPERATIONS_MAX}")
    return _Search(history, operations, revisions).run()


def _can_matter(operation: Operation) -> bool:
    if isinstance(operation.outcome, Failed):
        return False
    return isinstance(operation.outcome, Response) or not isinstance(operation.action, Range)


class _Search:
    def __init__(self, history: History, operations: list[Operation], revisions: bool) -> None:
        self._operations = operations
        self._revisions = revisions
        self._model = Model(revision=history.revision, entries=history.entries)
        self._answers: _Answers = {}
        self._order: list[Operation] = []
        self._dead_ends: set[object] = set()
        self._required = sum(1 << index for index, one in enumerate(operations) if isinstance(one.outcome, Response))

    def run(self) -> list[Operation] | None:
        return self._order if self._from(0) else None

    def _from(self, done: int) -> bool:
        """Whether the rest can be taken; then it stands in ``_order``."""
        if done & self._required == self._required:
            return True
        answered = tuple((identity, answer) for identity, (_, answer) in sorted(self._answers.items(), key=_identity))
        state = (done, self._model.revision, self._model.snapshot(), answered)
        if state in self._dead_ends:
            return False
        for index in self._next(done):
            if self._take(index, done):
                return True
        self._dead_ends.add(state)
        return False

    def _next(self, done: int) -> Iterator[int]:
        """Whatever was invoked before the first return of an answered operation that is not done."""
        open_ = [(index, one) for index, one in enumerate(self._operations) if not done >> index & 1]
        first_return = min(
            one.returned_at for _, one in open_ if isinstance(one.outcome, Response) and one.returned_at is not None
        )
        return (index for index, one in open_ if one.invoked_at <= first_return)

    def _take(self, index: int, done: int) -> bool:
        operation = self._operations[index]
        identity = (operation.session, operation.sequence)
        if identity in self._answers:
            return self._take_again(index, done, *self._answers[identity])
        applied = self._model.apply(operation.action)
        if operation.session:
            self._answers[identity] = (operation, applied.response)
        self._order.append(operation)
        if self._fits(operation, applied.response) and self._from(done | 1 << index):
            return True
        self._order.pop()
        self._answers.pop(identity, None)
        self._model.undo(applied)
        return False

    def _take_again(self, index: int, done: int, first: Operation, answer: Response) -> bool:
        operation = self._operations[index]
        if operation.action != first.action or not self._fits(operation, answer):
            return False
        self._order.append(operation)
        if self._from(done | 1 << index):
            return True
        self._order.pop()
        return False

    def _fits(self, operation: Operation, answer: Response) -> bool:
        if not isinstance(operation.outcome, Response):
            return True
        if self._revisions:
            return operation.outcome.matches(answer)
        return _without_revisions(operation.outcome).matches(_without_revisions(answer))


def _without_revisions(response: Response) -> Response:
    entries = response.entries
    if entries is not None:
        entries = tuple(entry._replace(create_revision=0, mod_revision=0) for entry in entries)
    return Response(0, entries, response.count, response.succeeded)


def _identity(item: tuple[tuple[int, int], tuple[Operation, Response]]) -> tuple[int, int]:
    return item[0]
