"""The high-water file: a small witness of what is durable in the acceptor log (L11).

SQLite drops the tail of a WAL behind a flipped bit, and a database without its WAL, without an error. So after every
commit, and before anything that was gated on it leaves the node, the log's end is written here. A database that is
behind this file has lost something; one that is ahead of it is normal, since the file is written after the commit, and
synced later still.

The mark is *written* in ``append`` (SIGKILL loses nothing that the page cache has) and *synced* by a thread of its own
within 10 ms: losing the last marks with the power only makes the witness less strict.

**Slots.** Each mark has a checksum, and the file has three slots in blocks of their own, of which the intact one with
the highest generation counts. Two would alternate safely only if every write were synced before the next; here several
writes fall into one sync, and more come while it runs. So at any time one slot is known durable and left alone, one may
be under way to the disk, and one takes the writes: whatever the power cuts short, the durable one stays.
"""

import hashlib
import os
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kvstore.paxos.types import Ballot, NodeId, Slot
from kvstore.storage.directory import sync_directory
from kvstore.storage.errors import Amnesia, DirectoryUnusable, LogWriteFailed, UnknownFormat
from kvstore.storage.port import BIRTH_ID_BYTES
from kvstore.storage.records import CHAIN_BYTES

__all__ = ["CLUSTER_ID_BYTES_MAX", "SLOTS", "SLOT_BYTES", "HighWaterFile", "Mark", "read_mark"]

SLOTS = 3
SLOT_BYTES = 4096
CLUSTER_ID_BYTES_MAX = 32

_SYNC_DELAY_S = 0.004  # with the sync itself and a wait for the interpreter lock, below 10 ms
_MAGIC = b"KVHIGHWM"
_VERSION = 1
_PREFIX = struct.Struct("<8sI")  # magic, version
_BODY = struct.Struct(f"<QQ{BIRTH_ID_BYTES}sQB{CLUSTER_ID_BYTES_MAX}sQ{CHAIN_BYTES}sQQqQ")
_CHECKSUM_BYTES = 16
_MARK_BYTES = _PREFIX.size + _BODY.size + _CHECKSUM_BYTES
_PREFIX_BYTES = _PREFIX.pack(_MAGIC, _VERSION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The end of a log, and whose log it is. ``highest_accepted`` is -1 while no slot has a record."""

    node_id: NodeId
    birth_id: bytes
    incarnation: int
    cluster_id: bytes | None
    sequence: int
    chain: bytes
    promised: Ballot
    highest_accepted: int
    first_slot: Slot


class HighWaterFile:
    """Writes marks. One thread writes, another syncs; ``start`` begins it."""

    def __init__(self, path: Path, *, fdatasync: Callable[[int], None] = os.fdatasync) -> None:
        self._path = path
        self._fdatasync = fdatasync
        self._fd = os.open(path, os.O_RDWR)
        newest = max(((g, slot) for slot, (g, _) in _decode_slots(path.read_bytes()).items()), default=(0, 0))
        self._generation = newest[0]
        self._active = newest[1]
        """The slot that takes the writes."""
        self._synced = newest[1]
        """The slot whose content is known to be durable. Only ``settle`` ever finds the two equal."""
        self._dirty = False
        self._last: Mark | None = None
        self._failure: OSError | None = None
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._sync_forever, name="high-water-sync", daemon=True)

    @staticmethod
    def create(path: Path, mark: Mark) -> None:
        """The file appears whole and durable, or not at all."""
        new = path.with_name(path.name + ".new")
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            for slot in range(SLOTS):
                os.pwrite(fd, _encode(mark, generation=slot + 1).ljust(SLOT_BYTES, b"\0"), slot * SLOT_BYTES)
            os.fsync(fd)
        finally:
            os.close(fd)
        new.rename(path)
        sync_directory(path.parent)

    def settle(self, mark: Mark) -> None:
        """Writes ``mark`` to all slots, one after the other, each durable before the next is touched."""
        assert not self._thread.is_alive(), "settle shares the file with nobody"
        try:
            self._fdatasync(self._fd)  # what an earlier process wrote last may not be durable yet
            for _ in range(SLOTS):
                self._active = (self._synced + 1) % SLOTS
                self._put(mark)
                self._fdatasync(self._fd)
                self._synced = self._active
        except OSError as error:
            raise self._failed(error) from error
        self._active = (self._synced + 1) % SLOTS
        self._dirty = False

    def start(self) -> None:
        self._thread.start()

    def write(self, mark: Mark) -> None:
        """Returns when ``mark`` is in the page cache. Raises LogWriteFailed, also for a sync that failed since."""
        with self._changed:
            if self._failure is not None:
                raise self._failed(self._failure)
            try:
                self._put(mark)
            except OSError as error:
                raise self._failed(error) from error
            if not self._dirty:
                self._dirty = True
                self._changed.notify()

    def sync(self) -> None:
        """Makes durable what was written. Writes that come meanwhile go to a slot of their own."""
        with self._changed:
            if not self._dirty:
                return
            target = self._active
            self._active = _spare(target, self._synced)
            self._dirty = False
        self._fdatasync(self._fd)
        with self._changed:
            self._synced = target

    def close(self) -> None:
        """Ends the thread; what was written is durable, in all slots, unless a sync has failed before."""
        self._end_thread()
        try:
            if self._last is not None and self._failure is None:
                self.settle(self._last)
        finally:
            os.close(self._fd)

    def abandon(self) -> None:
        """Ends the thread and syncs nothing more: what a crash of the process leaves."""
        self._end_thread()
        os.close(self._fd)

    def _end_thread(self) -> None:
        self._closing.set()
        with self._changed:
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _put(self, mark: Mark) -> None:
        self._generation += 1
        encoded = _encode(mark, generation=self._generation)
        written = os.pwrite(self._fd, encoded, self._active * SLOT_BYTES)
        assert written == len(encoded), f"{written} of {len(encoded)} bytes of a mark were written"
        self._last = mark

    def _sync_forever(self) -> None:
        while True:
            with self._changed:
                while not self._dirty and not self._closing.is_set():
                    self._changed.wait()
            if self._closing.wait(_SYNC_DELAY_S):
                return
            try:
                self.sync()
            except OSError as error:
                self._failure = error  # the next append ends the process; a second fsync might claim success
                return

    def _failed(self, error: OSError) -> LogWriteFailed:
        self._failure = error
        return LogWriteFailed(self._path, why=error.strerror or str(error))


def read_mark(path: Path) -> Mark | None:
    """The newest intact mark, None where there is no file. Raises UnknownFormat, or Amnesia where none is intact."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DirectoryUnusable(path, why=error.strerror or str(error)) from error
    marks = _decode_slots(content)
    if marks:
        return max(marks.values(), key=lambda found: found[0])[1]
    if len(content) >= _PREFIX.size:
        magic, version = _PREFIX.unpack_from(content)
        if magic == _MAGIC and version != _VERSION:
            raise UnknownFormat(f"the high-water file {path}", found=version, known=_VERSION)
    raise Amnesia(f"no slot of {path} is intact", in_file="nothing readable", in_database="what nobody can vouch for")


def _decode_slots(content: bytes) -> dict[int, tuple[int, Mark]]:
    """The intact slots with generation and mark."""
    blocks = ((slot, content[slot * SLOT_BYTES :][:_MARK_BYTES]) for slot in range(SLOTS))
    return {slot: decoded for slot, block in blocks if (decoded := _decode(block)) is not None}


def _spare(one: int, other: int) -> int:
    """The slot that is neither."""
    assert one != other, f"slot {one} takes the writes and is the durable one"
    return SLOTS - one - other


def _encode(mark: Mark, *, generation: int) -> bytes:
    cluster_id = mark.cluster_id or b""
    assert len(mark.birth_id) == BIRTH_ID_BYTES, f"a birth id of {len(mark.birth_id)} bytes"
    assert len(mark.chain) == CHAIN_BYTES, f"a chain hash of {len(mark.chain)} bytes"
    assert len(cluster_id) <= CLUSTER_ID_BYTES_MAX, f"a cluster id of {len(cluster_id)} bytes"
    content = _PREFIX_BYTES + _BODY.pack(
        generation,
        mark.node_id,
        mark.birth_id,
        mark.incarnation,
        len(cluster_id),
        cluster_id,
        mark.sequence,
        mark.chain,
        mark.promised.round,
        mark.promised.node_id,
        mark.highest_accepted,
        mark.first_slot,
    )
    return content + hashlib.blake2b(content, digest_size=_CHECKSUM_BYTES).digest()


def _decode(block: bytes) -> tuple[int, Mark] | None:
    """Generation and mark, None where the block is not an intact mark of this version."""
    content, checksum = block[:-_CHECKSUM_BYTES], block[-_CHECKSUM_BYTES:]
    if len(block) != _MARK_BYTES or not content.startswith(_PREFIX_BYTES):
        return None
    if hashlib.blake2b(content, digest_size=_CHECKSUM_BYTES).digest() != checksum:
        return None
    (
        generation,
        node,
        birth,
        incarnation,
        length,
        cluster,
        sequence,
        chain,
        ballot_round,
        ballot_node,
        highest,
        first,
    ) = _BODY.unpack_from(content, _PREFIX.size)
    mark = Mark(
        node_id=NodeId(node),
        birth_id=birth,
        incarnation=incarnation,
        cluster_id=cluster[:length] or None,
        sequence=sequence,
        chain=chain,
        promised=Ballot(ballot_round, NodeId(ballot_node)),
        highest_accepted=highest,
        first_slot=Slot(first),
    )
    return generation, mark
