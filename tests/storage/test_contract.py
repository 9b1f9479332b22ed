"""What every acceptor log keeps, whatever it lies on: the same stories over SQLite and over memory."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from kvstore.paxos.durable import AcceptedValue, AcceptRecord
from kvstore.paxos.messages import AcceptedEntry
from kvstore.paxos.types import ZERO_BALLOT, Application, Configuration, NodeId, Noop, Slot, Value
from kvstore.storage.errors import DiskFull, WrongCluster, WrongNode
from kvstore.storage.memory_log import MemoryAcceptorLog, MemoryDisk
from kvstore.storage.port import AcceptorLog, RecoveredLog
from kvstore.storage.sqlite_log import SqliteAcceptorLog
from tests.storage.helpers import ME, Restartable, accept, ballot, learn, open_sqlite, promise, write

FORMED: dict[str, Any] = {"cluster_id": b"c" * 16, "peers": {NodeId(1): "a:1", NodeId(2): "b:2"}, "alpha": 64}


@pytest.fixture(params=["sqlite", "memory"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Restartable:
    if request.param == "sqlite":

        def fill(log: AcceptorLog, full: bool) -> None:
            assert isinstance(log, SqliteAcceptorLog)
            log._connection.execute(f"PRAGMA max_page_count = {1 if full else 1 << 30}").fetchall()

        return Restartable(open=lambda node_id=ME: open_sqlite(tmp_path / "data", node_id), fill=fill)
    memory = MemoryDisk()

    def fill_memory(log: AcceptorLog, full: bool) -> None:
        memory.full = full

    return Restartable(
        open=lambda node_id=ME: MemoryAcceptorLog.open(memory, node_id=NodeId(node_id), rng=Random(7)),
        fill=fill_memory,
    )


def test_a_fresh_log_has_an_identity_and_nothing_else(disk: Restartable) -> None:
    log = disk.open()

    assert log.identity.node_id == ME
    assert len(log.identity.birth_id) == 16
    assert log.identity.incarnation == 1
    assert log.identity.cluster_id is None
    assert log.formation is None
    assert log.sequence == 0
    assert log.recover(from_slot=Slot(0)) == RecoveredLog(
        promised=ZERO_BALLOT, accepted={}, first_slot=Slot(0), log_end=Slot(0)
    )
    log.close()


def test_the_incarnation_grows_at_every_start_and_the_birth_id_stays(disk: Restartable) -> None:
    births = set()
    for incarnation in (1, 2, 3):
        log = disk.open()
        assert log.identity.incarnation == incarnation
        births.add(log.identity.birth_id)
        log.close()
    assert len(births) == 1


def test_what_was_appended_is_there_after_a_restart(disk: Restartable) -> None:
    log = disk.open()
    log.append(write(promise(3), accept(0, 3, b"zero"), accept(1, 3, b"one")))
    log.append(write(accept(7, 3, b"seven")))
    log.close()

    log = disk.open()

    assert log.sequence == 4
    assert log.recover(from_slot=Slot(1)) == RecoveredLog(
        promised=ballot(3),
        accepted={
            Slot(1): AcceptedValue(ballot(3), Application(b"one")),
            Slot(7): AcceptedValue(ballot(3), Application(b"seven")),
        },
        first_slot=Slot(0),
        log_end=Slot(8),
    )
    log.close()


def test_every_kind_of_value_comes_back(disk: Restartable) -> None:
    configuration = Configuration(2, (NodeId(1), NodeId(10)), (NodeId(2),), {NodeId(10): "h:1", NodeId(2): "ü:2"})
    values: tuple[Value, ...] = (Noop(), Application(b""), Application(bytes(range(256))), configuration)
    log = disk.open()
    log.append(write(*(AcceptRecord(Slot(slot), ballot(1), value) for slot, value in enumerate(values))))
    log.close()

    log = disk.open()
    assert tuple(known.value for known in log.recover(from_slot=Slot(0)).accepted.values()) == values
    assert tuple(entry.value for entry in log.read_decided(Slot(0), Slot(9), bytes_max=1 << 20)) == values
    log.close()


def test_the_newest_record_of_a_slot_counts(disk: Restartable) -> None:
    log = disk.open()
    log.append(write(accept(0, 1, b"old"), accept(0, 2, b"new")))
    log.append(write(learn(0, 1, b"chosen")))
    log.close()

    log = disk.open()
    chosen = {Slot(0): AcceptedValue(ballot(1), Application(b"chosen"), learned=True)}
    assert log.recover(from_slot=Slot(0)).accepted == chosen
    assert log.read_decided(Slot(0), Slot(1), bytes_max=1) == (
        AcceptedEntry(Slot(0), ballot(1), Application(b"chosen")),
    )
    log.close()


def test_accepting_promises_and_learning_does_not(disk: Restartable) -> None:
    """A learned value's ballot is another replica's vote: taking it for an own promise would bind this node."""
    log = disk.open()
    log.append(write(promise(2), accept(0, 5, b"a"), learn(1, 9, b"b"), promise(4)))
    log.close()

    log = disk.open()
    assert log.recover(from_slot=Slot(0)).promised == ballot(5)
    log.close()


def test_reading_decided_stops_at_a_hole_at_the_end_and_at_the_limit(disk: Restartable) -> None:
    log = disk.open()
    log.append(write(*(accept(slot, 1, bytes(100)) for slot in (0, 1, 2, 4))))

    def slots(start: int, end: int, bytes_max: int = 1 << 20) -> list[int]:
        return [entry.slot for entry in log.read_decided(Slot(start), Slot(end), bytes_max=bytes_max)]

    assert slots(0, 9) == [0, 1, 2]
    assert slots(1, 2) == [1]
    assert slots(3, 9) == []
    assert slots(4, 9) == [4]
    assert slots(2, 2) == []
    assert slots(0, 9, bytes_max=250) == [0, 1]
    assert slots(0, 9, bytes_max=1) == [0], "one entry always, however large"
    log.close()


def test_slots_may_lie_far_apart(disk: Restartable) -> None:
    log = disk.open()
    far = 10**12
    log.append(write(accept(5, 1, b"near"), accept(far, 1, b"far"), accept(far - 1, 1, b"before")))

    recovered = log.recover(from_slot=Slot(6))

    assert list(recovered.accepted) == [far - 1, far]
    assert recovered.log_end == far + 1
    log.close()


def test_a_cluster_forms_once(disk: Restartable) -> None:
    log = disk.open()
    births = {NodeId(1): log.identity.birth_id, NodeId(2): b"2" * 16}
    log.form(births=births, **FORMED)
    log.form(births=births, **FORMED)
    with pytest.raises(WrongCluster, match=f"cluster id is {b'c'.hex() * 16}, the given one is {b'd'.hex() * 16}"):
        log.form(births=births, **{**FORMED, "cluster_id": b"d" * 16})
    with pytest.raises(WrongCluster, match="alpha=65"):
        log.form(births=births, **{**FORMED, "alpha": 65})
    log.close()

    log = disk.open()
    assert log.identity.cluster_id == b"c" * 16
    assert log.formation is not None
    assert (log.formation.births, log.formation.peers, log.formation.alpha) == (births, FORMED["peers"], 64)
    log.close()


def test_a_cluster_that_knows_this_node_by_another_birth_is_refused(disk: Restartable) -> None:
    log = disk.open()
    with pytest.raises(
        WrongCluster, match=f"birth id of node 1 is {log.identity.birth_id.hex()}, .* {b'x'.hex() * 16}"
    ):
        log.form(births={NodeId(1): b"x" * 16}, **FORMED)
    assert log.identity.cluster_id is None
    log.close()


def test_peers_are_remembered_and_never_go_down(disk: Restartable) -> None:
    log = disk.open()
    assert log.peer_sequence(NodeId(2)) == 0
    log.remember_peer(NodeId(2), log_sequence=10)
    log.append(write(promise(1)))
    log.remember_peer(NodeId(2), log_sequence=9)
    log.remember_peer(NodeId(3), log_sequence=4)
    assert log.peer_sequence(NodeId(2)) == 10
    log.close()

    log = disk.open()
    assert (log.peer_sequence(NodeId(2)), log.peer_sequence(NodeId(3))) == (10, 4)
    log.close()


def test_another_node_is_refused_and_nothing_changes(disk: Restartable) -> None:
    disk.open().close()
    with pytest.raises(WrongNode, match="belongs to node 1, this is node 2"):
        disk.open(2)
    log = disk.open()
    assert log.identity.incarnation == 2
    log.close()


def test_a_full_disk_refuses_the_write_and_the_log_goes_on(disk: Restartable) -> None:
    log = disk.open()
    log.append(write(accept(0, 1, b"before")))
    disk.fill(log, True)
    with pytest.raises(DiskFull):
        log.append(write(accept(1, 2, bytes(4_000_000)), promise(9)))
    assert log.sequence == 1
    assert log.recover(from_slot=Slot(0)).promised == ballot(1)
    disk.fill(log, False)
    log.append(write(accept(1, 2, b"after")))
    log.close()

    log = disk.open()
    assert log.sequence == 2
    assert [entry.value for entry in log.read_decided(Slot(0), Slot(9), bytes_max=1 << 20)] == [
        Application(b"before"),
        Application(b"after"),
    ]
    log.close()


def test_the_statistics_count_commits_and_records(disk: Restartable) -> None:
    log = disk.open()
    before = log.stats()
    log.append(write(promise(1), accept(0, 1, bytes(5000))))
    log.append(write(accept(1, 1, b"")))
    after = log.stats()

    assert after.commits - before.commits == 2
    assert (before.records, after.records) == (0, 3)
    assert after.bytes_on_disk > 5000
    log.close()
    log.close()
