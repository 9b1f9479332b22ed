"""L11: a log that cannot be proved whole is not opened, and the one line says why."""

import re
import shutil
import sqlite3
from pathlib import Path
from random import Random

import pytest

from kvstore.paxos.types import NodeId, Slot
from kvstore.storage import schema
from kvstore.storage.errors import (
    Amnesia,
    BrokenChain,
    CorruptMeta,
    CorruptRecord,
    LogWriteFailed,
    LostRecord,
    SettingRefused,
    StorageError,
    UnknownFormat,
    UnreadableLog,
    WrongNode,
)
from kvstore.storage.high_water import SLOT_BYTES, SLOTS, HighWaterFile
from kvstore.storage.records import checksum_of
from tests.storage.helpers import accept, ballot, contents, edit, flip, open_sqlite, photograph, promise, write


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The directory of a node that promised 1.1, accepted the slots 0 to 3 and was stopped."""
    log = open_sqlite(tmp_path / "data")
    log.append(write(promise(1)))
    for slot in range(4):
        log.append(write(accept(slot, 1, bytes([slot]) * 1000)))
    log.close()
    return tmp_path / "data"


def test_a_flipped_bit_in_a_value_is_found_at_open(stopped: Path) -> None:
    """SQLite's own integrity_check finds nothing wrong with it."""
    connection = sqlite3.connect(stopped / "acceptor.db")
    value, stored = connection.execute("SELECT value, checksum FROM records WHERE sequence = 3").fetchone()
    connection.close()
    damaged = value[:500] + bytes([value[500] ^ 8]) + value[501:]
    edit(stopped, "UPDATE records SET value = ? WHERE sequence = 3", damaged)

    with pytest.raises(CorruptRecord) as caught:
        open_sqlite(stopped)

    assert caught.value.sequence == 3
    assert caught.value.stored == stored
    assert caught.value.computed == checksum_of(3, 2, 1, ballot(1), damaged)
    assert str(caught.value).startswith(
        f"record 3 of the acceptor log is corrupt: its checksum is {stored:#010x}, "
        f"its content gives {caught.value.computed:#010x}; this node must not vote"
    )


@pytest.mark.parametrize("column", ["kind", "slot", "round", "node", "checksum"])
def test_every_column_is_covered_by_the_checksum(stopped: Path, column: str) -> None:
    edit(stopped, f"UPDATE records SET {column} = {column} + 1 WHERE sequence = 3")
    with pytest.raises(CorruptRecord, match="record 3 "):
        open_sqlite(stopped)


def test_a_column_of_another_type_is_a_corrupt_record(stopped: Path) -> None:
    edit(stopped, "UPDATE records SET round = 'x' WHERE sequence = 3")
    with pytest.raises(CorruptRecord, match="its content is unreadable"):
        open_sqlite(stopped)


def test_a_changed_chain_hash_is_found(stopped: Path) -> None:
    edit(stopped, "UPDATE records SET chain = zeroblob(16) WHERE sequence = 4")
    with pytest.raises(
        BrokenChain, match=f"record 4 .* its chain hash is {'00' * 16}, the chain gives [0-9a-f]{{32}};"
    ):
        open_sqlite(stopped)


def test_a_record_missing_in_the_middle_is_found(stopped: Path) -> None:
    edit(stopped, "DELETE FROM records WHERE sequence = 3")
    with pytest.raises(LostRecord, match=r"record 3 .* is missing: record 4 was found"):
        open_sqlite(stopped)


def test_a_lost_tail_is_found(stopped: Path) -> None:
    edit(stopped, "DELETE FROM records WHERE sequence = 5")
    with pytest.raises(Amnesia, match="the high-water file says sequence 5, the database says sequence 4"):
        open_sqlite(stopped)


def test_a_deleted_high_water_file_is_amnesia(stopped: Path) -> None:
    (stopped / "high-water").unlink()
    with pytest.raises(Amnesia, match=r"high-water is missing: .* the database says node 1, incarnation 1;"):
        open_sqlite(stopped)


def test_a_deleted_database_is_amnesia(stopped: Path) -> None:
    (stopped / "acceptor.db").unlink()
    with pytest.raises(Amnesia, match="the database is missing: the high-water file says sequence 5"):
        open_sqlite(stopped)
    assert not (stopped / "acceptor.db").exists(), "nothing may look like a birth"


def test_an_emptied_database_is_amnesia(stopped: Path) -> None:
    (stopped / "acceptor.db").write_bytes(b"")
    with pytest.raises(Amnesia, match="the database knows no node: the high-water file says node 1, sequence 5"):
        open_sqlite(stopped)


def test_a_deleted_wal_is_amnesia(tmp_path: Path) -> None:
    log = open_sqlite(tmp_path / "data")
    log.append(write(accept(0, 1, b"only in the WAL")))
    killed = photograph(tmp_path / "data", tmp_path / "killed")
    log.close()
    (killed / "acceptor.db-wal").unlink()

    with pytest.raises(Amnesia, match="the database says"):
        open_sqlite(killed)


def test_a_flipped_bit_in_the_wal_is_amnesia(tmp_path: Path) -> None:
    """SQLite drops all that lies behind it, without a word."""
    log = open_sqlite(tmp_path / "data")
    for slot in range(5):
        log.append(write(accept(slot, 1, bytes(1000))))
    killed = photograph(tmp_path / "data", tmp_path / "killed")
    log.close()
    intact = open_sqlite(photograph(killed, tmp_path / "intact"))
    assert intact.sequence == 5
    intact.close()
    flip(killed / "acceptor.db-wal", 32 + 3 * (24 + schema.PAGE_BYTES) + 2000)

    with pytest.raises(Amnesia, match="sequence 5, the database says sequence"):
        open_sqlite(killed)


def test_an_older_copy_of_the_database_is_amnesia(stopped: Path, tmp_path: Path) -> None:
    shutil.copy(stopped / "acceptor.db", tmp_path / "backup.db")
    log = open_sqlite(stopped)
    log.append(write(promise(2)))
    log.close()
    shutil.copy(tmp_path / "backup.db", stopped / "acceptor.db")

    with pytest.raises(Amnesia, match="the high-water file says incarnation 2, the database says incarnation 1"):
        open_sqlite(stopped)


def test_the_database_of_another_birth_is_amnesia(stopped: Path, tmp_path: Path) -> None:
    open_sqlite(tmp_path / "other").close()
    shutil.copy(tmp_path / "other" / "acceptor.db", stopped / "acceptor.db")
    with pytest.raises(Amnesia, match="different births: the high-water file says node 1, birth"):
        open_sqlite(stopped)


def test_another_history_of_the_same_length_is_amnesia(tmp_path: Path) -> None:
    """Two nodes went on from one copied directory: the sequences agree, the chains do not."""
    open_sqlite(tmp_path / "one").close()
    photograph(tmp_path / "one", tmp_path / "two")
    for name in ("one", "two"):
        log = open_sqlite(tmp_path / name)
        log.append(write(accept(0, 1, name.encode())))
        log.close()
    shutil.copy(tmp_path / "two" / "acceptor.db", tmp_path / "one" / "acceptor.db")
    with pytest.raises(Amnesia, match="the records up to 1 are not those that were written"):
        open_sqlite(tmp_path / "one")


def test_a_database_ahead_of_the_file_is_normal(stopped: Path, tmp_path: Path) -> None:
    """A crash came between the commit and the mark, or the power took the mark."""
    shutil.copy(stopped / "high-water", tmp_path / "mark")
    log = open_sqlite(stopped)
    log.append(write(accept(4, 2, b"tail")))
    log.close()
    shutil.copy(tmp_path / "mark", stopped / "high-water")

    log = open_sqlite(stopped)

    assert log.sequence == 6
    assert log.recover(from_slot=Slot(0)).promised == ballot(2)
    log.close()


def test_the_tail_ahead_of_the_file_is_verified_too(stopped: Path, tmp_path: Path) -> None:
    shutil.copy(stopped / "high-water", tmp_path / "mark")
    log = open_sqlite(stopped)
    log.append(write(accept(4, 2, b"tail")))
    log.close()
    shutil.copy(tmp_path / "mark", stopped / "high-water")
    edit(stopped, "UPDATE records SET value = x'010100' WHERE sequence = 6")
    with pytest.raises(CorruptRecord, match="record 6 "):
        open_sqlite(stopped)


def test_one_damaged_slot_of_the_high_water_file_is_survived(stopped: Path) -> None:
    for slot in range(SLOTS):
        flip(stopped / "high-water", slot * SLOT_BYTES + 40)
        open_sqlite(stopped).close()


def test_a_high_water_file_without_an_intact_slot_is_amnesia(stopped: Path) -> None:
    for slot in range(SLOTS):
        flip(stopped / "high-water", slot * SLOT_BYTES + 40)
    with pytest.raises(Amnesia, match=r"no slot of .*high-water is intact"):
        open_sqlite(stopped)


def test_unknown_formats_stop_the_node(stopped: Path, tmp_path: Path) -> None:
    newer = photograph(stopped, tmp_path / "newer")
    connection = sqlite3.connect(newer / "acceptor.db")
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(UnknownFormat, match="the acceptor log has format version 9, this program knows version 1"):
        open_sqlite(newer)

    for slot in range(SLOTS):
        flip(stopped / "high-water", slot * SLOT_BYTES + 8, bit=1)
    with pytest.raises(UnknownFormat, match="high-water has format version 3, this program knows version 1"):
        open_sqlite(stopped)


def test_a_changed_fact_beside_the_records_is_found(stopped: Path) -> None:
    edit(stopped, "UPDATE meta SET value = replace(value, '\"node_id\":1', '\"node_id\":2') WHERE name = 'identity'")
    with pytest.raises(CorruptMeta, match="the identity entry of the acceptor log is corrupt"):
        open_sqlite(stopped)


def test_a_file_that_is_no_database_is_refused(stopped: Path) -> None:
    (stopped / "acceptor.db").write_bytes(b"once upon a time " * 1000)
    with pytest.raises(UnreadableLog, match="file is not a database; this node must not vote"):
        open_sqlite(stopped)


def test_a_refused_node_changes_nothing(stopped: Path) -> None:
    before = contents(stopped)
    with pytest.raises(WrongNode, match=re.escape(f"{stopped} belongs to node 1, this is node 2")):
        open_sqlite(stopped, 2)
    assert contents(stopped) == before


def test_a_birth_cut_short_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The power fails between the database and its witness: nobody has heard of the identity, so it may go on."""

    def power_failure(*_: object) -> None:
        raise OSError(5, "power failure")

    with monkeypatch.context() as patch:
        patch.setattr(HighWaterFile, "create", power_failure)
        with pytest.raises(UnreadableLog, match="power failure"):
            open_sqlite(tmp_path / "data")
    with pytest.raises(WrongNode):
        open_sqlite(tmp_path / "data", 2)

    log = open_sqlite(tmp_path / "data")
    assert log.identity.incarnation == 1
    log.close()


def test_a_bit_flipped_anywhere_is_harmless_or_found(stopped: Path, tmp_path: Path) -> None:
    """Never does a log open with another content than was written."""
    log = open_sqlite(stopped)
    expected = log.recover(from_slot=Slot(0))
    log.close()
    rng = Random(11)
    found = 0
    for trial in range(60):
        victim = photograph(stopped, tmp_path / str(trial))
        file = victim / rng.choice(("acceptor.db", "acceptor.db", "acceptor.db", "high-water"))
        used = [offset for offset, byte in enumerate(file.read_bytes()) if byte]
        flip(file, rng.choice(used), rng.randrange(8))
        try:
            log = open_sqlite(victim)
        except StorageError:
            found += 1
            continue
        assert log.recover(from_slot=Slot(0)) == expected
        log.close()
        shutil.rmtree(victim)
    assert found > 30


def test_a_failed_write_is_never_tried_again(stopped: Path) -> None:
    log = open_sqlite(stopped)
    log._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(LogWriteFailed, match="attempt to write a readonly database"):
        log.append(write(promise(2)))
    log._connection.execute("PRAGMA query_only = OFF")
    with pytest.raises(LogWriteFailed, match="an earlier write failed: attempt to write a readonly database"):
        log.append(write(promise(2)))
    assert log.sequence == 5
    log.close()


def test_a_record_that_is_damaged_while_the_node_runs_is_never_handed_out(stopped: Path) -> None:
    log = open_sqlite(stopped)
    log._connection.execute("UPDATE records SET value = x'010100' WHERE sequence = 3")
    with pytest.raises(CorruptRecord, match="record 3 "):
        log.read_decided(Slot(0), Slot(4), bytes_max=1 << 20)
    log._connection.execute("DELETE FROM records WHERE sequence = 3")
    with pytest.raises(LostRecord, match=r"record 3 .* nothing was found"):
        log.recover(from_slot=Slot(0))
    log.close()


def test_a_setting_that_sqlite_does_not_take_is_refused() -> None:
    """A database in memory has no WAL: SQLite says so only to those who read the setting back."""
    connection = sqlite3.connect(":memory:")
    with pytest.raises(SettingRefused, match=r"journal_mode = WAL \(wal\): it is memory"):
        schema.require(connection, "journal_mode", set_to="WAL", reads="wal")
    connection.close()


def test_the_settings_of_the_one_owner(stopped: Path) -> None:
    log = open_sqlite(stopped)

    def setting(name: str) -> object:
        return log._connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert setting("journal_mode") == "wal"
    assert setting("synchronous") == 2
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite3.connect(stopped / "acceptor.db", timeout=0).execute("SELECT * FROM records")
    log.close()


def test_peers_survive_a_kill_soon_after(tmp_path: Path) -> None:
    log = open_sqlite(tmp_path / "data")
    log.remember_peer(NodeId(2), log_sequence=1)
    log.append(write(promise(1)))
    log.remember_peer(NodeId(2), log_sequence=2)
    for round_ in range(2, 100):
        log.append(write(promise(round_)))
    killed = photograph(tmp_path / "data", tmp_path / "killed")
    log.close()

    log = open_sqlite(killed)
    assert log.peer_sequence(NodeId(2)) == 2
    log.close()


def test_the_wal_is_checkpointed_and_keeps_its_size(tmp_path: Path) -> None:
    log = open_sqlite(tmp_path / "data")
    wal = tmp_path / "data" / "acceptor.db-wal"
    size = wal.stat().st_size
    for slot in range(100):
        log.append(write(accept(slot, 1, bytes(30_000))))
    assert wal.stat().st_size == size
    assert (tmp_path / "data" / "acceptor.db").stat().st_size > 80 * 30_000
    log.close()
