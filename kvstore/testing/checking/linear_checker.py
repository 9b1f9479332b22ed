"""Linearizability in linear time: every answer names its revision, so the order need not be searched for.

``check`` asks whether all requests can be put in one order that respects real time, in which each answered request
takes effect exactly once, an unknown one at most once, a failed one never, and in which the model gives every answer
that was recorded, revisions included.

- **With the decided logs** (``decided_log``) the order is theirs. They must agree slot by slot, hold every acknowledged
  write and nothing that no client asked for; the model replays them.
- **From the answers alone** the acknowledged writes are ordered by their revisions, and the revisions that nobody was
  told of must be the work of unknown writes (``unknown_writes``). Which one is mostly evident from what was read; where
  it is not, choices are tried within a limit. Only there can the verdict be ``undecided``.

Everything is sorted once and then walked through: n log n.
"""

from collections.abc import Hashable, Iterable, Mapping

from kvstore.testing.checking.decided_log import LoggedSlot, explain_by_logs
from kvstore.testing.checking.history import History
from kvstore.testing.checking.real_time import real_time
from kvstore.testing.checking.requests import Request, merge
from kvstore.testing.checking.unknown_writes import explain_by_answers
from kvstore.testing.checking.verdict import Rule, Verdict, Violation

__all__ = ["check"]


def check(history: History, logs: Mapping[Hashable, Iterable[LoggedSlot]] | None = None) -> Verdict:
    """``logs``: what each replica decided, by any name of the replica."""
    requests, violations = merge(history.operations)
    placed = [(request.position, request) for request in requests if request.response is not None]
    violations += _unique_revisions(requests)
    if logs is not None:
        explained = explain_by_logs(history, requests, logs)
        violations += explained.violations
        placed += [(2 * revision, request) for revision, request in explained.unknown_writes.items()]
        return Verdict((*violations, *real_time(placed)))
    violations += real_time(placed)
    if violations:
        return Verdict(tuple(violations))
    return explain_by_answers(history, requests)


def _unique_revisions(requests: list[Request]) -> Iterable[Violation]:
    writers: dict[int, Request] = {}
    for request in requests:
        if request.response is None or not request.effective:
            continue
        revision = request.response.revision
        first = writers.setdefault(revision, request)
        if first is not request:
            yield Violation(
                Rule.UNIQUE_REVISION,
                (*first.operations, *request.operations),
                "a revision of its own for each write",
                f"{first.action} and {request.action}",
                revision=revision,
            )
