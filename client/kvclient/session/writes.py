"""The numbered writes of a session, and what a lost stream or the end of the session makes of them.

A write gets its sequence when it is first sent, and keeps it as long as the session lasts: every copy carries it, so
that the write is applied once (L12) whatever became of the copies before.

**What is certain.** A write that is on the stream, or was on one that was lost (``doubted``), may be applied at any
moment; every other write is not and will not be. A refusal speaks of the copy that was sent on this stream. So a
refused write of which no other copy exists was certainly not done: it may go out again, or into the next session where
its own has expired. Close to its deadline it is kept back instead, for a copy whose answer comes too late would turn
that certainty into doubt. Of a doubted one another copy is sent until its deadline: the answer tells.

**The floor.** ``unanswered_from`` tells the servers which answers need not be kept. A call that nobody waits for any
more counts as answered there, yet it is here, and has its room in the window, until the server has answered it.

**The next session** begins with those writes of the last that were certainly not done, numbered anew in their order.
Of the doubted ones nobody can tell any more.
"""

from collections import deque
from typing import Final

from kvclient.session.pending import Pending, State

__all__ = ["IDLE_MAX_S", "LAST_COPY_S", "Writes"]

IDLE_MAX_S: Final = 300.0  # servers keep an idle session for ten minutes at least
LAST_COPY_S: Final = 0.05  # a write that is certainly not done is not sent again so shortly before its deadline


class Writes:
    """``session`` is 0 until a server has opened one.

    ``by_sequence`` is in the order of the sequences; a write there that is done is still before the server. ``again``
    are those to send once more, and may contain some that are done. Whoever sends many keeps ``next_sequence``.
    """

    __slots__ = ("again", "by_sequence", "is_over", "next_sequence", "session", "written_at")

    def __init__(self) -> None:
        self.session = 0
        self.by_sequence: dict[int, Pending] = {}
        self.again: deque[Pending] = deque()
        self.next_sequence = 1
        self.written_at = 0.0  # when the servers heard of it last
        self.is_over = False  # the session has expired, or is about to

    def unanswered_from(self) -> int:
        """The lowest sequence whose answer somebody waits for; the next one, if there is none."""
        for sequence, call in self.by_sequence.items():
            if call.state is not State.DONE:
                return sequence
        return self.next_sequence

    def is_idle(self, now: float) -> bool:
        """Servers may be about to forget a session that has nothing to remember."""
        return now >= self.written_at + IDLE_MAX_S and not self.by_sequence

    def forget(self, call: Pending) -> None:
        """It is answered, or ends where no server has it."""
        self.by_sequence.pop(call.number, None)

    def clear(self) -> None:
        """Forgets all."""
        self.by_sequence.clear()
        self.again.clear()

    def stream_lost(self) -> None:
        """All that somebody waits for goes out again; what was on the stream is doubted."""
        self.by_sequence = {number: call for number, call in self.by_sequence.items() if call.state is not State.DONE}
        for call in self.by_sequence.values():
            if call.state is State.SENT:
                call.state = State.AGAIN
                call.doubted = True
        self.again = deque(self.by_sequence.values())

    def keep_back(self, now: float) -> None:
        """Those that are certainly not done, and had better end like that: they wait for their deadline here."""
        if self.again:
            latest = now + LAST_COPY_S
            self.again = deque(call for call in self.again if call.doubted or call.deadline >= latest)

    def renew(self) -> list[Pending]:
        """Without a stream: leaves the session for the next. Returns the doubted writes: they end here."""
        calls = [call for call in self.by_sequence.values() if call.state is not State.DONE]
        doubted = [call for call in calls if call.doubted]
        certain = [call for call in calls if not call.doubted]
        for call in doubted:
            call.state = State.DONE
        for number, call in enumerate(certain, start=1):
            assert call.state is State.AGAIN, f"on no stream: {call.state}"
            call.number = number
        self.by_sequence = {call.number: call for call in certain}
        self.again = deque(certain)
        self.next_sequence = len(certain) + 1
        self.session = 0
        self.is_over = False
        return doubted
