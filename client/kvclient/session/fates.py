"""What a call is told where it ends without a result: the truth about whether it may have been done."""

from kvclient import errors
from kvclient.decisions import Failure, error_of
from kvclient.errors import Code, KvError
from kvclient.session.pending import Pending, State

__all__ = ["ended", "error", "expired", "late", "too_large"]


def error(failure: Failure, *, may_be_done: bool, is_read: bool) -> KvError:
    """A write that may be done is an ``UnknownOutcome``; any other error of a write means that it was not done."""
    if may_be_done:
        return errors.UnknownOutcome(code=failure.code, text=failure.text, endpoint=failure.endpoint)
    named = error_of(failure)
    if is_read or isinstance(named, errors.Unavailable | errors.Refused | errors.ClientClosed):
        return named
    return errors.Unavailable(code=failure.code, text=failure.text, endpoint=failure.endpoint)


def may_be_done(call: Pending) -> bool:
    """A write that is on a stream, or was on one that was lost."""
    return not call.is_read and (call.doubted or call.state is State.SENT)


def late(call: Pending, *, stream: Failure | None, endpoint: str) -> KvError:
    """Its time is up. ``stream`` is what became of the last one, if there is none now."""
    silent = Failure(Code.DEADLINE_EXCEEDED, "not answered in time", endpoint)
    if call.state is State.SENT or may_be_done(call):
        return error(silent, may_be_done=not call.is_read, is_read=call.is_read)
    unsent = silent if call.is_read else Failure(Code.UNAVAILABLE, "not sent in time", endpoint)
    return error(call.failure or stream or unsent, may_be_done=False, is_read=call.is_read)


def ended(call: Pending, failure: Failure, instead: KvError | None) -> KvError:
    """All calls end with this failure; with ``instead`` where nothing is in doubt."""
    doubt = may_be_done(call)
    return instead if instead and not doubt else error(failure, may_be_done=doubt, is_read=call.is_read)


def expired(text: str, endpoint: str) -> KvError:
    """More than one copy was sent, and nobody can tell what became of the first."""
    return errors.SessionExpired(code=Code.NOT_FOUND, text=text, endpoint=endpoint)


def too_large(call: Pending, *, endpoint: str, bytes_max: int) -> KvError:
    """It does not fit into the server's window, even alone. That of another server may have taken it before."""
    text = f"a request of {call.size} bytes: the server takes {bytes_max} at a time"
    if may_be_done(call):
        return errors.UnknownOutcome(code=Code.RESOURCE_EXHAUSTED, text=text, endpoint=endpoint)
    return errors.ResourceExhausted(code=Code.RESOURCE_EXHAUSTED, text=text, endpoint=endpoint)
