"""Turns, what survives a restart, the state hash, the file."""

import hashlib
import sqlite3

import pytest
import sqlite_utils
from kvproto.command_pb2 import OpenSession, PublishMember

from kvstore.mvcc import Limits, MemberPublished, Store, open_state
from kvstore.mvcc.errors import StateFailed, StateFormatError, StateFull

from .helpers import batch, delete, dump, entry, get, new_store, put, run, turn, txn

CONFIGURATION = b'{"epoch":1,"voters":[1,2,3]}'


def test_an_exception_in_the_middle_of_a_turn_leaves_the_state_untouched(monkeypatch):
    """Data, sessions, members, configurations, hash and slot: all as they were, in memory and in the database (L9)."""
    store = new_store()
    session = run(store, OpenSession()).session
    run(store, put(b"a", b"1"), session=session, sequence=1)
    before = (dump(store), store.state_hash, store.revision, store.applied_end, store.range(get(b"a")))

    store.begin()
    store.apply(2, batch(entry(put(b"a", b"2"), session=session, sequence=2), entry(OpenSession())))
    store.apply(3, batch(entry(PublishMember(node_id=1, name="one")), entry(put(b"b"))))
    store.set_configurations([(4, CONFIGURATION)])
    assert store.range(get(b"\0", b"\0")).count == 2  # so some of it reached SQLite
    with monkeypatch.context() as patch:
        patch.setattr(store._members, "publish", lambda _member: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.apply(4, batch(entry(put(b"c")), entry(PublishMember(node_id=2))))
    store.rollback()

    assert (dump(store), store.state_hash, store.revision, store.applied_end, store.range(get(b"a"))) == before
    assert (store.members(), store.configurations(), store.in_turn) == ([], [], False)
    turn(store, batch(entry(put(b"a", b"2"), session=session, sequence=2)))
    assert (store.applied_end, store.revision, store.range(get(b"a")).kvs[0].value) == (3, 3, b"2")


def test_slots_are_applied_in_order_and_only_in_turns():
    """L6, and the order of calls."""
    store = new_store()
    with pytest.raises(AssertionError, match="outside of a turn"):
        store.apply(0, None)
    with pytest.raises(AssertionError, match="outside of a turn"):
        store.commit()
    store.begin()
    with pytest.raises(AssertionError, match="within a turn"):
        store.begin()
    assert store.apply(0, None) == []
    for slot in (0, 2):
        with pytest.raises(AssertionError, match=f"slot {slot} is not the next one, 1"):
            store.apply(slot, None)
    with pytest.raises(AssertionError, match="two values"):
        store.apply(1, batch(), configuration=CONFIGURATION)
    assert store.apply(1, None, configuration=CONFIGURATION) == []
    store.commit()
    assert (store.applied_end, store.revision) == (2, 1)


def test_everything_survives_reopening(tmp_path):
    """Slot, revision, hash, data, members, configurations."""
    connection = open_state(tmp_path / "state.db")
    store = Store(connection)
    one = PublishMember(node_id=2, name="two", client_urls=["http://a:1", "http://a:2"], peer_urls=["http://a:3"])
    other = PublishMember(node_id=1, name="one")
    assert run(store, one) == MemberPublished(2)
    turn(store, batch(entry(other), entry(put(b"a", b"1"))), batch(entry(delete(b"a")), entry(put(b"b", b"2"))))
    store.begin()
    store.set_configurations([(40, b"later"), (8, b"now")])
    store.commit()
    known = (store.applied_end, store.revision, store.state_hash, store.range(get(b"\0", b"\0")), dump(store))
    connection.close()

    connection = open_state(tmp_path / "state.db")
    again = Store(connection)
    assert (again.applied_end, again.revision, again.state_hash, again.range(get(b"\0", b"\0")), dump(again)) == known
    assert again.members() == [other, one]
    assert again.configurations() == [(8, b"now"), (40, b"later")]
    again.begin()
    again.set_configurations([(40, b"later")])
    again.commit()
    assert again.configurations() == [(40, b"later")]
    run(again, PublishMember(node_id=2, name="renamed"))
    assert [member.name for member in again.members()] == ["one", "renamed"]
    connection.close()


def test_a_crash_loses_the_turn_and_nothing_else(tmp_path):
    """A connection that goes away without a commit."""
    connection = open_state(tmp_path / "state.db")
    store = Store(connection)
    run(store, put(b"a"))
    digest = store.state_hash
    store.begin()
    store.apply(1, batch(entry(put(b"b"))))
    store.range(get(b"b"))
    connection.close()
    connection = open_state(tmp_path / "state.db")
    again = Store(connection)
    assert (again.applied_end, again.revision, again.state_hash) == (1, 2, digest)
    assert again.range(get(b"\0", b"\0")).count == 1
    connection.close()


def test_the_state_hash_covers_every_slot_and_its_effects():
    """Each of these histories has a hash of its own; how they are grouped into turns is no part of it."""
    histories = [
        [],
        [None],
        [None, None],
        [batch(entry(put(b"a", b"b")))],
        [batch(entry(put(b"ab", b"")))],
        [batch(entry(put(b"a", b"b")), entry(put(b"a", b"b")))],
        [batch(entry(txn(success=[put(b"a", b"b"), put(b"c", b"")])))],
        [batch(entry(put(b"a", b"b")), entry(put(b"c", b"")))],
        [batch(entry(put(b"a", b"b"))), batch(entry(put(b"c", b"")))],
        [batch(entry(put(b"a", b"b")), entry(delete(b"a")))],
        [batch(entry(OpenSession()))],
        [batch(entry(OpenSession()), entry(put(b"a", b"b"), session=1, sequence=1))],
        [batch(entry(PublishMember(node_id=1)))],
        [batch(entry(PublishMember(node_id=1, name="n")))],
    ]
    digests = []
    for history in histories:
        store = new_store()
        for slot, value in enumerate(history):
            store.begin()
            store.apply(slot, value)
            store.commit()
        digests.append(store.state_hash)
    configured = new_store()
    configured.begin()
    configured.apply(0, None, configuration=CONFIGURATION)
    configured.commit()
    digests.append(configured.state_hash)
    assert len({*digests}) == len(digests)
    assert {len(digest) for digest in digests} == {32}


def test_the_state_hash_is_the_same_in_every_version():
    """Replicas of different versions compare it: this value may never change."""
    store = new_store()
    turn(store, batch(entry(put(b"a", b"1")), entry(delete(b"a"))), batch(entry(OpenSession())))
    row = bytes([1]) + b"".join(n.to_bytes(8, "little") for n in (1, 2, 2, 1, 0, 1, 1)) + b"a1"
    tombstone = bytes([1]) + b"".join(n.to_bytes(8, "little") for n in (2, 3, 0, 0, 0, 1, 0)) + b"a"
    opened = bytes([2, 2, 4]) + (14).to_bytes(8, "little") + b"session opened" + bytes([3, 1, 0, 0, 0, 0, 0, 0, 0])
    digest = bytes(32)
    for slot, effects in enumerate((row + tombstone, opened)):
        header = slot.to_bytes(8, "little") + len(effects).to_bytes(8, "little")
        digest = hashlib.blake2b(digest + header + effects, digest_size=32).digest()
    assert store.state_hash == digest


def test_the_file_is_opened_as_the_design_says(tmp_path):
    connection = open_state(tmp_path / "state.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (1,)
    assert connection.isolation_level is None
    store = Store(connection)
    assert store.size_bytes() >= store.size_in_use_bytes() > 0
    connection.close()


def test_a_state_that_cannot_be_wal_is_refused():
    """A setting that did not take is an error, not a hope."""
    with pytest.raises(StateFormatError, match="memory"):
        open_state(":memory:")


def test_an_unknown_format_version_is_refused():
    connection = sqlite3.connect(":memory:")
    Store(connection)
    connection.execute("UPDATE meta SET value = '99' WHERE name = 'format_version'")
    with pytest.raises(StateFormatError, match="format version 99, this program reads 1 to 1"):
        Store(connection)


def test_a_foreign_database_is_refused_and_left_alone():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE groceries (name TEXT)")
    with pytest.raises(StateFormatError, match="groceries"):
        Store(connection)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("groceries",)]


def test_a_state_is_not_opened_under_other_limits():
    """They decide what commands do: replicas with different ones would diverge."""
    connection = sqlite3.connect(":memory:")
    Store(connection, Limits(sessions_max=7))
    with pytest.raises(StateFormatError, match=r"'sessions_max': '7'.*'sessions_max': '10000'"):
        Store(connection)


def test_a_full_disk_is_told_from_other_failures(tmp_path):
    """After a full disk the turn is rolled back and may be tried again."""
    connection = open_state(tmp_path / "state.db")
    store = Store(connection)
    connection.execute(f"PRAGMA max_page_count = {store.size_bytes() // 4096 + 2}")
    store.begin()
    store.apply(0, batch(entry(put(b"a", bytes(100_000)))))
    with pytest.raises(StateFull):
        store.commit()
    store.rollback()
    assert (store.applied_end, store.revision) == (0, 1)
    connection.execute("PRAGMA max_page_count = 100000")
    assert run(store, put(b"a", bytes(100_000))).header.revision == 2
    connection.execute("DROP TABLE head")
    with pytest.raises(StateFailed, match="head"):
        store.range(get(b"x"))
    connection.close()


def test_people_can_read_the_state(tmp_path):
    """The views show text where there is text, and bytes where there are bytes."""
    connection = open_state(tmp_path / "state.db")
    store = Store(connection)
    for command in (
        put(b"name", b"Ada"),
        put(b"name", b"Ada\nLovelace"),
        put(b"\xff\0", b"\x80"),
        put(b"x"),
        delete(b"x"),
    ):
        run(store, command)
    connection.close()
    with sqlite3.connect(tmp_path / "state.db") as reader:
        db = sqlite_utils.Database(reader)
        assert list(db["current_keys"].rows) == [
            {
                "key": "name",
                "value": "Ada\nLovelace",
                "create_revision": 2,
                "mod_revision": 3,
                "version": 2,
                "lease": 0,
            },
            {"key": b"\xff\0", "value": b"\x80", "create_revision": 4, "mod_revision": 4, "version": 1, "lease": 0},
        ]
        history = [(row["revision"], row["operation"], row["key"]) for row in db["history"].rows]
    reader.close()
    assert history == [
        (2, "put", "name"),
        (3, "put", "name"),
        (4, "put", b"\xff\0"),
        (5, "put", "x"),
        (6, "delete", "x"),
    ]
