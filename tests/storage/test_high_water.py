"""The witness: written at once, synced soon, and never without one slot that is whole."""

import os
import threading
from pathlib import Path

import pytest

from kvstore.paxos.types import NodeId, Slot
from kvstore.storage.errors import LogWriteFailed
from kvstore.storage.high_water import SLOT_BYTES, SLOTS, HighWaterFile, Mark, read_mark
from tests.storage.helpers import ballot


def mark(sequence: int) -> Mark:
    return Mark(
        node_id=NodeId(1),
        birth_id=b"b" * 16,
        incarnation=3,
        cluster_id=b"cluster",
        sequence=sequence,
        chain=b"h" * 16,
        promised=ballot(4, 2),
        highest_accepted=sequence - 1,
        first_slot=Slot(0),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    HighWaterFile.create(tmp_path / "high-water", mark(0))
    return tmp_path / "high-water"


def slot_blocks(path: Path) -> list[bytes]:
    content = path.read_bytes()
    return [content[slot * SLOT_BYTES :][:SLOT_BYTES] for slot in range(SLOTS)]


def test_a_mark_is_readable_as_soon_as_it_is_written(path: Path) -> None:
    """What SIGKILL would leave; no sync has happened."""
    file = HighWaterFile(path)
    file.settle(mark(1))
    for sequence in range(2, 9):
        file.write(mark(sequence))
        assert read_mark(path) == mark(sequence)
    file.close()
    assert read_mark(path) == mark(8)


def test_a_settled_mark_is_in_every_slot(path: Path) -> None:
    file = HighWaterFile(path)
    file.settle(mark(1))
    file.write(mark(2))
    file.close()
    for spared in range(SLOTS):
        content = bytearray(path.read_bytes())
        for slot in range(SLOTS):
            if slot != spared:
                content[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES] = bytes(SLOT_BYTES)
        copy = path.with_name(f"only-{spared}")
        copy.write_bytes(content)
        assert read_mark(copy) == mark(2)


def test_the_durable_slot_is_never_touched(path: Path) -> None:
    """Writes before, during and after a sync: whatever was durable when they began stays as it was."""
    durable: list[bytes] = []
    during: list[Mark] = []
    touched: list[int] = []

    def fdatasync(fd: int) -> None:
        for sequence in during:
            file.write(sequence)
        during.clear()
        os.fdatasync(fd)

    file = HighWaterFile(path, fdatasync=fdatasync)
    file.settle(mark(1))
    sequence = 1
    for _ in range(7):
        before = slot_blocks(path)
        durable = [before[file._synced]]
        for _ in range(2):
            sequence += 1
            file.write(mark(sequence))
        under_sync = slot_blocks(path)[file._active]
        during += [mark(sequence + 1), mark(sequence + 2)]
        sequence += 2
        file.sync()
        after = slot_blocks(path)
        touched.append(file._active)
        assert durable[0] in after, "the slot that was durable before"
        assert under_sync in after, "the slot that was being synced"
        assert read_mark(path) == mark(sequence)
    assert set(touched) == set(range(SLOTS)), "all slots take their turn"
    file.close()


def test_the_thread_syncs_without_being_asked(path: Path) -> None:
    synced = threading.Event()

    def fdatasync(fd: int) -> None:
        os.fdatasync(fd)
        if threading.current_thread() is not threading.main_thread():
            synced.set()

    file = HighWaterFile(path, fdatasync=fdatasync)
    file.settle(mark(1))
    file.start()
    file.write(mark(2))
    assert synced.wait(timeout=30)
    file.close()


def test_a_failed_sync_fails_the_next_write_and_is_not_repeated(path: Path) -> None:
    calls: list[int] = []

    def fdatasync(fd: int) -> None:
        if threading.current_thread() is threading.main_thread():
            return
        calls.append(fd)
        raise OSError(5, "Input/output error")

    file = HighWaterFile(path, fdatasync=fdatasync)
    file.settle(mark(1))
    file.start()
    file.write(mark(2))
    file._thread.join()
    with pytest.raises(LogWriteFailed, match="high-water: Input/output error"):
        file.write(mark(3))
    file.close()
    assert len(calls) == 1
