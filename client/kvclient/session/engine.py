"""A session's rules, without I/O: time is an argument, and so is whatever the stream brings.

Calls come in and wait. ``take_batch`` puts everything that waits into one message, as far as the server's window has
room (``window.py``), and only there a write gets its sequence (``writes.py``). Answers come in any order. A lost stream
loses nothing: what is not answered goes out again on the next one, a write in the same session under the same sequence,
a read is asked anew.

**How a write ends** that has no result: one that was certainly not done is ``Unavailable`` at its deadline; one that is
on the stream, or doubted, is an ``UnknownOutcome``. ``writes.py`` has what is certain and why.

**Leaving a stream** is decided here as well: when a server keeps silent with requests before it, when it refuses for
want of a leader for too long, when the session has to be renewed. Before a renewal or a move to another server the
engine holds new batches back until the stream is drained, so that no copy is doubted for it.
"""

import enum
import math
from collections import deque
from collections.abc import Iterable
from random import Random
from typing import Any, Final

from kvproto.session_pb2 import ClientBatch, Opened, ReadAnswer, Refusal, ServerBatch, WriteAnswer

from kvclient import errors
from kvclient.decisions import Failure, code_of
from kvclient.errors import Code, KvError
from kvclient.results import PutResult
from kvclient.session import fates
from kvclient.session.patience import Patience
from kvclient.session.pending import Kind, Pending, State, answer_in, write_entry, write_read
from kvclient.session.window import Window
from kvclient.session.writes import Writes

__all__ = ["BATCH_BYTES_MAX", "WAITING_MAX", "Engine", "Leave"]

WAITING_MAX: Final = 100_000  # calls that wait to be sent
BATCH_BYTES_MAX: Final = 3 * 512 * 1024  # gRPC servers refuse messages above 2 MiB or so
DEADLINE_GRAIN_S: Final = 0.01

_SENT, _DONE, _WAITING, _AGAIN = State.SENT, State.DONE, State.WAITING, State.AGAIN


class Leave(enum.Enum):
    """Why the present stream had better be left."""

    SILENT = "the server does not answer"
    REFUSING = "the server refuses for want of a leader"
    RENEW = "the session has expired or was idle for long"


class Engine:
    """``silence_s``: how long a server may keep silent with requests before it. ``alone``: it is the only one known.

    ``endpoint`` is who serves the stream, or did last: for errors' sake.
    """

    def __init__(self, *, endpoint: str, silence_s: float, alone: bool, rng: Random) -> None:
        self.endpoint = endpoint
        self._window = Window(silence_s=silence_s)
        self._patience = Patience(alone=alone, rng=rng)
        self._failure: Failure | None = None  # of the last stream, while none is open
        self._queue: deque[Pending] = deque()  # some may be done: they are passed over when their turn comes
        self._writes = Writes()
        self._reads: dict[int, Pending] = {}  # those before the server
        self._next_read = 1
        self._deadline = math.inf  # not later than any call's
        self._done: list[tuple[Pending, Any]] = []
        self._failed: list[tuple[Pending, KvError]] = []

    # --- calls -------------------------------------------------------------------------------------------------------

    def submit(self, call: Pending) -> None:
        """A call begins. Raises ``ResourceExhausted`` if too many wait already."""
        if len(self._queue) >= WAITING_MAX:
            raise errors.ResourceExhausted(
                code=Code.RESOURCE_EXHAUSTED, text=f"{WAITING_MAX} calls wait already", endpoint=self.endpoint
            )
        self._queue.append(call)
        if call.deadline < self._deadline:  # noqa: PLR1730  # half the price of min()
            self._deadline = call.deadline

    def abandon(self, call: Pending) -> None:
        """Nobody waits for it any more. If it was not sent, it will not be."""
        if call.state is _AGAIN:
            self._writes.forget(call)
        call.state = _DONE

    # --- the stream --------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether there is a stream."""
        return self._window.is_open

    @property
    def is_at_rest(self) -> bool:
        """There is a stream, and nothing before the server."""
        return self._window.is_open and not self._window.requests

    @property
    def wants_stream(self) -> bool:
        """There is something to send, or to wait for."""
        waiting = (self._writes.again, self._patience.calls, self._queue)
        return any(call.state is not _DONE for calls in waiting for call in calls)

    def open_request(self, now: float) -> ClientBatch:
        """What a new stream begins with."""
        if not self._window.is_open and self._writes.is_idle(now):
            self._renew("the session was idle")
        batch = ClientBatch()
        batch.open.session = self._writes.session
        return batch

    def opened(self, opened: Opened, *, endpoint: str, now: float) -> None:
        """A stream serves this session; if it is another one than was asked for, the old one is gone."""
        self._window.opened(opened, now)
        if opened.session != self._writes.session:
            self._renew("the session is not known any more")
            self._writes.session = opened.session
            self._writes.written_at = now
        self.endpoint = endpoint
        self._failure = None
        self._patience.succeeded()

    def received(self, batch: ServerBatch, now: float) -> None:
        """Answers."""
        self._window.quiet_since = now
        sequences = batch.put_sequences
        if sequences:
            self._put_answers(sequences, batch.put_revisions)
        for write in batch.writes:
            call = self._writes.by_sequence.get(write.sequence)
            if call is not None and self._returned(call):
                self._answered(call, write, now)
        for read in batch.reads:
            call = self._reads.get(read.number)
            if call is not None and self._returned(call):
                self._answered(call, read, now)

    def lost(self, failure: Failure | None, now: float) -> None:
        """The stream has ended, or none could be had. What was before the server goes out again."""
        self._failure = failure or self._failure
        self._window.closed()
        self._writes.stream_lost()
        reads = [call for call in self._reads.values() if call.state is not _DONE]
        reads += [call for call in self._patience.take() if call.is_read]
        for call in reads:
            call.state = _WAITING
        self._queue.extendleft(reversed(reads))
        self._reads.clear()
        if self._writes.is_over:
            self._renew("the session has expired")
        self.tick(now)

    def hold(self, now: float) -> None:
        """Before a move: sends nothing new, until the stream is drained or time is up; see ``is_drained``."""
        self._window.hold(now)

    def release(self) -> None:
        """There will be no move after all."""
        if not self._writes.is_over:
            self._window.release()

    def is_drained(self, now: float) -> bool:
        """Held back long enough: nothing that somebody waits for is before the server, or that took too long."""
        if self._window.is_held_long_enough(now):
            return True
        before_server = (*self._writes.by_sequence.values(), *self._reads.values())
        return self._window.is_held and not any(call.state is _SENT for call in before_server)

    def leave(self, now: float) -> Leave | None:
        """Whether to leave the stream; if so, end it and say so to ``lost``."""
        if not self._window.is_open:
            return None
        if self._writes.is_over:
            return Leave.RENEW if self.is_drained(now) else None
        if self._window.is_silent(now):
            return Leave.SILENT
        if now >= self._patience.ends_at:
            return Leave.REFUSING
        return None

    # --- outputs -----------------------------------------------------------------------------------------------------

    def take_batch(self, now: float) -> ClientBatch | None:
        """All that waits and has room, in one message; None if that is nothing."""
        window, writes = self._window, self._writes
        if now >= self._patience.again_at:
            for call in self._patience.take():
                (writes.again if call.state is _AGAIN else self._queue).append(call)
        writes.keep_back(now)
        if not window.is_open or not (writes.again or self._queue):
            return None
        self._renew_if_idle(now)
        if window.is_held:
            return None
        batch = ClientBatch()
        requests = window.requests
        self._fill(batch, writes.again)
        if not writes.again:
            self._fill(batch, self._queue)
        if window.requests == requests:
            return None
        if not requests:
            window.quiet_since = now
        if batch.entries:
            writes.written_at = now
        batch.unanswered_from = writes.unanswered_from()
        return batch

    def take_done(self) -> list[tuple[Pending, Any]]:
        """Calls that have a result."""
        done, self._done = self._done, []
        return done

    def take_failed(self) -> list[tuple[Pending, KvError]]:
        """Calls that have an error."""
        failed, self._failed = self._failed, []
        return failed

    def tick(self, now: float) -> None:
        """Ends the calls whose time is up."""
        if now < self._deadline:
            return
        next_deadline = math.inf
        for call in self._living():
            if call.deadline <= now:
                error = fates.late(call, stream=self._failure, endpoint=self.endpoint)
                self._fail(call, error, sent=call.state is _SENT)
            elif call.deadline < next_deadline:
                next_deadline = call.deadline
        self._deadline = max(next_deadline, now + DEADLINE_GRAIN_S)
        if self._queue:
            self._queue = deque(call for call in self._queue if call.state is not _DONE)

    def next_deadline(self) -> float:
        """When something changes without an input; infinity for never."""
        deadline = min(self._deadline, self._patience.again_at, self._window.next_deadline())
        return min(deadline, self._patience.ends_at) if self._window.is_open else deadline

    def end(self, failure: Failure, error: KvError | None = None) -> None:
        """Ends every call: with ``error``, or what the failure means; a write that may be done, as unknown."""
        for call in list(self._living()):
            self._fail(call, fates.ended(call, failure, error))
        self._window.closed()
        self._writes.clear()
        self._reads.clear()
        self._queue.clear()
        self._patience.take()

    # --- sending -----------------------------------------------------------------------------------------------------

    def _fill(self, batch: ClientBatch, source: deque[Pending]) -> None:
        """Moves calls from the front of ``source`` into the batch, up to the first that has no room."""
        window, writes, reads = self._window, self._writes, self._reads
        session, by_sequence, next_sequence = writes.session, writes.by_sequence, writes.next_sequence
        add_entry, add_read = batch.entries.add, batch.reads.add
        requests, size, requests_max = window.requests, window.size, window.requests_max
        size_max = min(window.bytes_max, size + BATCH_BYTES_MAX)
        sequence_end = writes.unanswered_from() + requests_max
        while source and requests < requests_max:
            call = source[0]
            if call.state is _DONE:
                source.popleft()
                continue
            if size + call.size > size_max:
                if requests or call.size <= size_max:
                    break
                self._fail(call, fates.too_large(call, endpoint=self.endpoint, bytes_max=window.bytes_max))
                continue
            if call.is_read:
                call.number = number = self._next_read
                self._next_read = number + 1
                reads[number] = call
                read = add_read()
                read.number = number
                if call.kind is Kind.GET:
                    read.range.key = call.key
                else:
                    write_read(call, read)
            else:
                number = call.number
                if not number:
                    if next_sequence >= sequence_end:
                        break
                    call.number = number = next_sequence
                    next_sequence = number + 1
                    by_sequence[number] = call
                entry = add_entry()
                entry.session = session
                entry.sequence = number
                if call.kind is Kind.PUT:
                    put = entry.put
                    put.key = call.key
                    put.value = call.value
                else:
                    write_entry(call, entry)
            source.popleft()
            call.state = _SENT
            requests += 1
            size += call.size
        writes.next_sequence = next_sequence
        window.requests, window.size = requests, size

    def _renew_if_idle(self, now: float) -> None:
        """A session that may soon be forgotten is not for another write."""
        if self._writes.is_idle(now) and any(not call.is_read and call.state is not _DONE for call in self._queue):
            self._end_session(now)

    def _end_session(self, now: float) -> None:
        """It is renewed as soon as the stream is drained."""
        self._writes.is_over = True
        self._window.hold(now)

    def _renew(self, text: str) -> None:
        """The session is left for the next; ``text`` says why."""
        expired = self._writes.renew()
        self._failed += [(call, fates.expired(text, self.endpoint)) for call in expired]

    # --- answers -----------------------------------------------------------------------------------------------------

    def _put_answers(self, sequences: Iterable[int], revisions: Iterable[int]) -> None:
        window, pop, done = self._window, self._writes.by_sequence.pop, self._done
        requests, size = window.requests, window.size
        for sequence, revision in zip(sequences, revisions, strict=False):
            call = pop(sequence, None)
            if call is None:
                continue
            state = call.state
            if state is not _AGAIN:  # else the answer is as good, and this stream has no copy
                requests -= 1
                size -= call.size
            if state is not _DONE:
                if call.kind is Kind.PUT:
                    call.state = _DONE
                    done.append((call, PutResult(revision)))
                else:
                    self._unreadable(call, "a put was answered that was none")
        window.requests, window.size = requests, size
        self._patience.succeeded()

    def _returned(self, call: Pending) -> bool:
        """An answer to a call that is before the server gives its room back; whether somebody waits for it."""
        if call.state not in (_SENT, _DONE):
            return False
        self._window.returned(call)
        if call.is_read:
            del self._reads[call.number]
        elif call.state is _DONE:
            self._writes.forget(call)
        return call.state is _SENT

    def _answered(self, call: Pending, answer: WriteAnswer | ReadAnswer, now: float) -> None:
        kind = answer.WhichOneof("answer")
        if kind == "refusal":
            self._refused(call, answer.refusal, now)
            return
        self._patience.succeeded()
        try:
            result = answer_in(call, answer, kind)
        except ValueError as unreadable:
            self._unreadable(call, str(unreadable))
            return
        self._forget(call)
        self._done.append((call, result))

    def _unreadable(self, call: Pending, text: str) -> None:
        failure = Failure(Code.INTERNAL, f"unreadable answer: {text}", self.endpoint)
        self._fail(call, fates.error(failure, may_be_done=not call.is_read, is_read=call.is_read))

    def _refused(self, call: Pending, refusal: Refusal, now: float) -> None:
        failure = Failure(code_of(refusal.code), refusal.text, self.endpoint)
        if refusal.session_expired and not call.is_read:
            self._expired(call, refusal.text, now)
        elif failure.code is Code.UNAVAILABLE:
            call.doubted = call.doubted or refusal.unknown  # another copy will tell
            call.failure = failure
            call.state = _WAITING if call.is_read else _AGAIN
            self._patience.refused(call, now)
        elif refusal.unknown and not call.is_read:
            self._fail(call, fates.error(failure, may_be_done=True, is_read=False))
        else:
            invalid = failure.code is Code.INVALID_ARGUMENT  # so is every copy
            may_be_done = call.doubted and not invalid
            self._fail(call, fates.error(failure, may_be_done=may_be_done, is_read=call.is_read))

    def _expired(self, call: Pending, text: str, now: float) -> None:
        """This copy was not applied: without another one it may go into the next session."""
        self._end_session(now)
        if call.doubted:
            self._fail(call, fates.expired(text, self.endpoint))
        else:
            call.state = _AGAIN  # until the renewal

    # --- ends --------------------------------------------------------------------------------------------------------

    def _living(self) -> Iterable[Pending]:
        """All calls that somebody waits for, each once."""
        refused_reads = [call for call in self._patience.calls if call.is_read]
        for calls in (self._writes.by_sequence.values(), self._reads.values(), refused_reads, self._queue):
            for call in list(calls):
                if call.state is not _DONE:
                    yield call

    def _fail(self, call: Pending, error: KvError, *, sent: bool = False) -> None:
        """``sent``: the server has it still, and its room is taken."""
        if not sent:
            self._forget(call)
        call.state = _DONE
        self._failed.append((call, error))

    def _forget(self, call: Pending) -> None:
        call.state = _DONE
        if not call.is_read:
            self._writes.forget(call)
