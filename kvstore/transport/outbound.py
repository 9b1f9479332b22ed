"""What waits for one peer on one lane, bounded in messages and in bytes (L13).

Consensus tolerates loss, so a full queue drops and counts. On the protocol lane the newest message is worth most: a
heartbeat or an Accept from a minute ago helps nobody, so the oldest goes. On the bulk lane the oldest has waited
longest and others build on it (a catch-up page, a forward), so the newest is not taken in.
"""

from collections import deque

from kvstore.transport.handshake import Lane

__all__ = ["OutboundQueue"]


class OutboundQueue:
    """``bytes_max`` bounds what waits behind the first message: one message always fits an empty queue."""

    def __init__(self, lane: Lane, *, messages_max: int, bytes_max: int) -> None:
        assert messages_max >= 1, messages_max
        self._lane = lane
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._encoded: deque[bytes] = deque()
        self._size_bytes = 0
        self.dropped = 0
        """Messages lost to the bounds since the start."""

    def __len__(self) -> int:
        return len(self._encoded)

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def push(self, encoded: bytes) -> None:
        if self._lane is Lane.BULK and self._is_full_for(encoded):
            self.dropped += 1
            return
        while self._is_full_for(encoded):
            self._size_bytes -= len(self._encoded.popleft())
            self.dropped += 1
        self._encoded.append(encoded)
        self._size_bytes += len(encoded)

    def take(self, *, bytes_max: int) -> list[bytes]:
        """The oldest messages, up to ``bytes_max`` in all, but at least one where there is one."""
        taken: list[bytes] = []
        size = 0
        while self._encoded and (not taken or size + len(self._encoded[0]) <= bytes_max):
            taken.append(self._encoded.popleft())
            size += len(taken[-1])
        self._size_bytes -= size
        return taken

    def _is_full_for(self, encoded: bytes) -> bool:
        if not self._encoded:
            return False
        return len(self._encoded) >= self._messages_max or self._size_bytes + len(encoded) > self._bytes_max
