"""A session's rules, without I/O: time is an argument, and so is whatever the stream brings.

Calls come in and wait. ``take_batch`` puts everything that waits into one message, as far as the server's window has
room, and only there a write gets its sequence. Answers come in any order. A lost stream loses nothing: what is not
answered goes out again on the next one, a write in the same session under the same sequence, so that it is applied
once (L12) whatever became of the first copy; a read is asked anew.

**What is certain.** A write that is on the stream, or was on one that was lost (``doubted``), may be applied at any
moment; every other write is not and will not be. A refusal speaks of the copy that was sent on this stream. So a
refused write of which no other copy exists was certainly not done: it may go out again, or into another session where
its own has expired, and at its deadline it is ``Unavailable``. One that is doubted is an ``UnknownOutcome`` then; until
then another copy is sent, whose answer tells.

**The floor.** ``unanswered_from`` tells the servers which answers need not be kept. A call that nobody waits for any
more counts as answered there, yet it keeps its room in the window until the server has answered it.

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

__all__ = ["BATCH_BYTES_MAX", "HOLD_MAX_S", "IDLE_MAX_S", "WAITING_MAX", "Engine", "Leave"]

WAITING_MAX: Final = 100_000  # calls that wait to be sent
REQUESTS_MAX: Final = 4096  # never more between the lowest unanswered sequence and the newest, whatever the server says
BATCH_BYTES_MAX: Final = 3 * 512 * 1024  # gRPC servers refuse messages above 2 MiB or so
IDLE_MAX_S: Final = 300.0  # servers keep an idle session for ten minutes at least
HOLD_MAX_S: Final = 0.5
DEADLINE_GRAIN_S: Final = 0.01
LAST_COPY_S: Final = 0.05  # a refused write is not sent again so shortly before its deadline

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
        self._session = 0
        self._silence_s = silence_s
        self._patience = Patience(alone=alone, rng=rng)
        self._failure: Failure | None = None  # of the last stream, while none is open
        # Calls. A deque may contain calls that are done: they are passed over when their turn comes.
        self._queue: deque[Pending] = deque()
        self._again: deque[Pending] = deque()
        self._writes: dict[int, Pending] = {}  # by sequence, in its order; a done one is still before the server
        self._reads: dict[int, Pending] = {}  # those before the server
        self._next_sequence = 1
        self._next_read = 1
        self._written_at = 0.0
        # The stream.
        self._is_open = False
        self._requests_max = 0
        self._bytes_max = 0
        self._requests = 0  # before the server, in number and size
        self._bytes = 0
        self._quiet_since = 0.0
        self._held_until: float | None = None
        self._renews = False
        # Time and results.
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
            self._writes.pop(call.number, None)
        call.state = _DONE

    # --- the stream --------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether there is a stream."""
        return self._is_open

    @property
    def is_at_rest(self) -> bool:
        """There is a stream, and nothing before the server."""
        return self._is_open and not self._requests

    @property
    def wants_stream(self) -> bool:
        """There is something to send, or to wait for."""
        return any(
            call.state is not _DONE for calls in (self._again, self._patience.calls, self._queue) for call in calls
        )

    def open_request(self, now: float) -> ClientBatch:
        """What a new stream begins with."""
        if not self._is_open and now >= self._written_at + IDLE_MAX_S and not self._writes:
            self._forget_session("the session was idle")
        batch = ClientBatch()
        batch.open.session = self._session
        return batch

    def opened(self, opened: Opened, *, endpoint: str, now: float) -> None:
        """A stream serves this session; if it is another one than was asked for, the old one is gone."""
        assert not self._is_open, "one stream at a time"
        if opened.session != self._session:
            self._forget_session("the session is not known any more")
            self._written_at = now
        self._session = opened.session
        self.endpoint = endpoint
        self._requests_max = min(opened.requests_max or REQUESTS_MAX, REQUESTS_MAX)
        self._bytes_max = opened.bytes_max or BATCH_BYTES_MAX
        self._is_open = True
        self._failure = None
        self._quiet_since = now
        self._patience.succeeded()

    def received(self, batch: ServerBatch, now: float) -> None:
        """Answers."""
        self._quiet_since = now
        sequences = batch.put_sequences
        if sequences:
            self._put_answers(sequences, batch.put_revisions)
        for write in batch.writes:
            call = self._writes.get(write.sequence)
            if call is not None and self._returned(call):
                self._answered(call, write, now)
        for read in batch.reads:
            call = self._reads.get(read.number)
            if call is not None and self._returned(call):
                self._answered(call, read, now)

    def lost(self, failure: Failure | None, now: float) -> None:
        """The stream has ended, or none could be had. What was before the server goes out again."""
        self._failure = failure or self._failure
        self._is_open = False
        self._requests = self._bytes = 0
        self._held_until = None
        self._writes = {number: call for number, call in self._writes.items() if call.state is not _DONE}
        for call in self._writes.values():
            if call.state is _SENT:
                call.state = _AGAIN
                call.doubted = True
        self._again = deque(self._writes.values())
        reads = [call for call in self._reads.values() if call.state is not _DONE]
        reads += [call for call in self._patience.take() if call.is_read]
        for call in reads:
            call.state = _WAITING
        self._queue.extendleft(reversed(reads))
        self._reads.clear()
        if self._renews:
            self._forget_session("the session has expired")
        self.tick(now)

    def hold(self, now: float) -> None:
        """Before a move: sends nothing new, until the stream is drained or time is up; see ``is_drained``."""
        if self._held_until is None:
            self._held_until = now + HOLD_MAX_S

    def release(self) -> None:
        """There will be no move after all."""
        if not self._renews:
            self._held_until = None

    def is_drained(self, now: float) -> bool:
        """Held back long enough: nothing that somebody waits for is before the server, or that took too long."""
        if self._held_until is None:
            return False
        if now >= self._held_until or not self._requests:
            return True
        before_server = (*self._writes.values(), *self._reads.values())
        return not any(call.state is _SENT for call in before_server)

    def leave(self, now: float) -> Leave | None:
        """Whether to leave the stream; if so, end it and say so to ``lost``."""
        if not self._is_open:
            return None
        if self._renews:
            return Leave.RENEW if self.is_drained(now) else None
        if self._requests and now >= self._quiet_since + self._silence_s:
            return Leave.SILENT
        if now >= self._patience.ends_at:
            return Leave.REFUSING
        return None

    # --- outputs -----------------------------------------------------------------------------------------------------

    def take_batch(self, now: float) -> ClientBatch | None:
        """All that waits and has room, in one message; None if that is nothing."""
        if now >= self._patience.again_at:
            for call in self._patience.take():
                if call.state is not _AGAIN:
                    self._queue.append(call)
                elif now + LAST_COPY_S <= call.deadline:  # else its answer would hardly come, and leave a doubt
                    self._again.append(call)
        if not self._is_open or not (self._again or self._queue):
            return None
        self._renew_if_idle(now)
        if self._held_until is not None:
            return None
        batch = ClientBatch()
        requests = self._requests
        self._fill(batch, self._again)
        if not self._again:
            self._fill(batch, self._queue)
        if self._requests == requests:
            return None
        if not requests:
            self._quiet_since = now
        if batch.entries:
            self._written_at = now
        batch.unanswered_from = self._unanswered_from()
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
        deadline = min(self._deadline, self._patience.again_at)
        if self._is_open:
            deadline = min(deadline, self._patience.ends_at)
            if self._requests:
                deadline = min(deadline, self._quiet_since + self._silence_s)
            if self._held_until is not None:
                deadline = min(deadline, self._held_until)
        return deadline

    def end(self, failure: Failure, error: KvError | None = None) -> None:
        """Ends every call: with ``error``, or what the failure means; a write that may be done, as unknown."""
        for call in list(self._living()):
            self._fail(call, fates.ended(call, failure, error))
        self._is_open = False
        self._writes.clear()
        self._reads.clear()
        self._queue.clear()
        self._again.clear()
        self._patience.take()
        self._requests = self._bytes = 0

    # --- sending -----------------------------------------------------------------------------------------------------

    def _fill(self, batch: ClientBatch, source: deque[Pending]) -> None:
        """Moves calls from the front of ``source`` into the batch, up to the first that has no room."""
        session, writes, reads = self._session, self._writes, self._reads
        add_entry, add_read = batch.entries.add, batch.reads.add
        requests, size = self._requests, self._bytes
        size_max = min(self._bytes_max, size + BATCH_BYTES_MAX)
        sequence_end = (self._unanswered_from() if writes else self._next_sequence) + self._requests_max
        while source and requests < self._requests_max:
            call = source[0]
            if call.state is _DONE:
                source.popleft()
                continue
            if size + call.size > size_max:
                if requests or call.size <= size_max:
                    break
                source.popleft()
                self._fail(call, fates.too_large(call, self.endpoint, self._bytes_max))
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
                    number = self._next_sequence
                    if number >= sequence_end:
                        break
                    call.number = number
                    self._next_sequence = number + 1
                    writes[number] = call
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
        self._requests, self._bytes = requests, size

    def _unanswered_from(self) -> int:
        for number, call in self._writes.items():
            if call.state is not _DONE:
                return number
        return self._next_sequence

    def _renew_if_idle(self, now: float) -> None:
        """Servers may be about to forget a session that has nothing to remember."""
        if (
            now >= self._written_at + IDLE_MAX_S
            and not self._writes
            and any(not call.is_read and call.state is not _DONE for call in self._queue)
        ):
            self._renews = True
            self.hold(now)

    # --- answers -----------------------------------------------------------------------------------------------------

    def _put_answers(self, sequences: Iterable[int], revisions: Iterable[int]) -> None:
        pop, done = self._writes.pop, self._done
        requests, size = self._requests, self._bytes
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
        self._requests, self._bytes = requests, size
        self._patience.succeeded()

    def _returned(self, call: Pending) -> bool:
        """An answer to a call that is before the server gives its room back; whether somebody waits for it."""
        if call.state not in (_SENT, _DONE):
            return False
        self._requests -= 1
        self._bytes -= call.size
        if call.is_read or call.state is _DONE:
            del (self._reads if call.is_read else self._writes)[call.number]
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
        self._renews = True
        self.hold(now)
        if call.doubted:
            self._fail(call, fates.expired(text, self.endpoint))
        else:
            call.state = _AGAIN  # until the renewal

    def _forget_session(self, text: str) -> None:
        waiting: list[Pending] = []
        for call in self._writes.values():
            if call.state is _DONE:
                continue
            if call.doubted:
                call.state = _DONE
                self._failed.append((call, fates.expired(text, self.endpoint)))
            else:
                assert call.state is _AGAIN, f"on no stream: {call.state}"
                call.state = _WAITING
                call.number = 0
                waiting.append(call)
        self._writes.clear()
        self._again.clear()
        self._queue.extendleft(reversed(waiting))
        self._session = 0
        self._next_sequence = 1
        self._renews = False

    # --- ends --------------------------------------------------------------------------------------------------------

    def _living(self) -> Iterable[Pending]:
        """All calls that somebody waits for, each once."""
        refused_reads = [call for call in self._patience.calls if call.is_read]
        for calls in (self._writes.values(), self._reads.values(), refused_reads, self._queue):
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
        if call.number and not call.is_read:
            self._writes.pop(call.number, None)
