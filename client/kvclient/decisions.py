"""What a failed attempt means: may the request be sent again, and if not, which error tells the truth?

Pure, and the only place where this is decided; both clients ask here. The rule for reads: sending again harms nobody,
so do it whenever another attempt may go better: for a connection's failure until time is up, for a server's own fault
at each of the other servers, once. The rule for writes: only where it is *certain* that the write was not
and will not be done. Two things make it certain:

- the request never left: gRPC had no connection to put it on (``_never_sent``);
- the server says that it did not propose it (``_not_proposed``).

A third kind of certainty ends the matter: the server refused the request (``_is_refusal``). Whatever is left is
``UnknownOutcome``: timeouts, connections that broke with the request on them, a leader that changed, internal errors.
gRPC's own library invents statuses too: UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED, INTERNAL, UNKNOWN, and
RESOURCE_EXHAUSTED when a peer resets a stream "to calm down"; those prove nothing without the server's words.
"""

import enum
from dataclasses import dataclass

from kvclient import errors
from kvclient.errors import Code, KvError

__all__ = ["CLOSED_DURING_THE_CALL", "Decision", "Failure", "SendAgain", "code_of", "decide", "error_of"]


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt's end, as gRPC reports it, in our words."""

    code: Code
    text: str
    endpoint: str


_CODES = dict(enumerate(Code, start=1))


def code_of(number: int) -> Code:
    """gRPC's number for it; 0, which is no failure, and unheard-of ones are unknown failures."""
    return _CODES.get(number, Code.UNKNOWN)


class SendAgain(enum.Enum):
    """Whether another attempt is allowed."""

    NEVER = "never"
    ELSEWHERE = "elsewhere"  # at endpoints that have not been tried
    ANYWHERE = "anywhere"


@dataclass(frozen=True, slots=True)
class Decision:
    """``error`` is what to raise if the request is not sent again, be it for want of permission or of time.

    ``avoid``: the next request had better begin at another endpoint.
    """

    send_again: SendAgain
    avoid: bool
    error: KvError


CLOSED_DURING_THE_CALL = "the client was closed during the call"  # the only text here that is of our own making

NO_LEADER = "etcdserver: no leader"
NOT_PROPOSED = "etcdserver: not proposed"

_ERRORS_BY_TEXT: dict[str, type[KvError]] = {
    "etcdserver: mvcc: required revision has been compacted": errors.Compacted,
    "etcdserver: mvcc: required revision is a future revision": errors.FutureRevision,
}

# A server's refusals: gRPC's library makes none of these up, except those that need a second look, see _is_refusal.
_REFUSALS: dict[Code, type[KvError]] = {
    Code.INVALID_ARGUMENT: errors.InvalidArgument,
    Code.NOT_FOUND: errors.NotFound,
    Code.ALREADY_EXISTS: errors.AlreadyExists,
    Code.FAILED_PRECONDITION: errors.FailedPrecondition,
    Code.OUT_OF_RANGE: errors.OutOfRange,
    Code.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    Code.PERMISSION_DENIED: errors.PermissionDenied,
    Code.UNAUTHENTICATED: errors.Unauthenticated,
    Code.UNIMPLEMENTED: errors.Unsupported,
}

_CONNECTION_FAILURES: dict[Code, type[KvError]] = {
    Code.UNAVAILABLE: errors.Unavailable,
    Code.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
}


def decide(failure: Failure, *, is_read: bool) -> Decision:
    """What to do after this failure of a read, or of anything that may write."""
    error = error_of(failure)
    if _is_refusal(failure):
        return Decision(SendAgain.NEVER, avoid=False, error=error)
    if is_read:
        if _was_closed(failure):
            return Decision(SendAgain.NEVER, avoid=False, error=error)
        of_connection = failure.code in _CONNECTION_FAILURES
        return Decision(SendAgain.ANYWHERE if of_connection else SendAgain.ELSEWHERE, avoid=True, error=error)
    if _never_sent(failure) or _not_proposed(failure):
        return Decision(SendAgain.ANYWHERE, avoid=True, error=error)
    unknown = errors.UnknownOutcome(code=failure.code, text=failure.text, endpoint=failure.endpoint)
    return Decision(SendAgain.NEVER, avoid=True, error=unknown)


def error_of(failure: Failure) -> KvError:
    """The error that names this failure, the question of a write's fate apart."""
    kind = (
        _ERRORS_BY_TEXT.get(failure.text)
        or (errors.NoLeader if _says_no_leader(failure) else None)
        or (errors.ClientClosed if _was_closed(failure) else None)
        or _CONNECTION_FAILURES.get(failure.code)
        or (_REFUSALS[failure.code] if _is_refusal(failure) else None)
        or errors.ServerFailed
    )
    return kind(code=failure.code, text=failure.text, endpoint=failure.endpoint)


def _never_sent(failure: Failure) -> bool:
    """gRPC says so when no connection could be made: without one there was nothing to write the request to."""
    return failure.code is Code.UNAVAILABLE and failure.text.startswith(
        ("failed to connect to all addresses", "DNS resolution failed")
    )


def _says_no_leader(failure: Failure) -> bool:
    return failure.code is Code.UNAVAILABLE and failure.text.startswith(NO_LEADER)


def _was_closed(failure: Failure) -> bool:
    return failure.code is Code.CANCELLED and failure.text == CLOSED_DURING_THE_CALL


def _not_proposed(failure: Failure) -> bool:
    """The server's promise; "request timed out" and "leader changed" come with the same code and promise nothing."""
    return failure.code is Code.UNAVAILABLE and failure.text.startswith((NO_LEADER, NOT_PROPOSED))


def _is_refusal(failure: Failure) -> bool:
    """The server decided against the request. Codes that gRPC's library makes up as well need the server's words."""
    if failure.code in (Code.RESOURCE_EXHAUSTED, Code.PERMISSION_DENIED):  # both: also HTTP/2 stream resets
        # A request above the server's limit is thrown away by the gRPC there. Our own limit for answers is off, so the
        # message cannot be about an answer to a write that was done.
        return failure.text.startswith("etcdserver: ") or "eceived message larger than max" in failure.text
    return failure.code in _REFUSALS
