"""Each option of a range, one row a fact."""

import pytest
from kvproto.etcd.rpc_pb2 import RangeRequest

from kvstore.mvcc import revisions
from kvstore.mvcc.errors import Compacted, FutureRevision, InvalidSortOption, KeyNotProvided, Refused

from .helpers import batch, delete, entry, get, new_store, put, run, turn, txn

ALL = {"key": b"\0", "range_end": b"\0"}


@pytest.fixture
def store():
    """Revisions 2 to 7. At the end: a (created 2, mod 6, version 2, "3"), b (3, 3, 1, "2"), c (7, 7, 1, "1")."""
    store = new_store()
    for command in (
        put(b"a", b"0"),
        put(b"b", b"2"),
        put(b"c", b"9"),
        delete(b"c"),
        put(b"a", b"3"),
        put(b"c", b"1"),
    ):
        run(store, command)
    assert store.revision == 7
    return store


def keys(response) -> str:
    return b"".join(kv.key for kv in response.kvs).decode()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # range_end
        ({"key": b"a"}, ("a", 1, False)),
        ({"key": b"aa"}, ("", 0, False)),
        ({"key": b"a", "range_end": b"b"}, ("a", 1, False)),
        ({"key": b"a", "range_end": b"c"}, ("ab", 2, False)),
        ({"key": b"a", "range_end": b"a"}, ("", 0, False)),
        ({"key": b"b", "range_end": b"a"}, ("", 0, False)),
        ({"key": b"b", "range_end": b"\0"}, ("bc", 2, False)),
        ({"key": b"aa", "range_end": b"\0"}, ("bc", 2, False)),
        (ALL, ("abc", 3, False)),
        # limit
        (ALL | {"limit": 0}, ("abc", 3, False)),
        (ALL | {"limit": 2}, ("ab", 3, True)),
        (ALL | {"limit": 3}, ("abc", 3, False)),
        (ALL | {"limit": -1}, ("abc", 3, False)),
        (ALL | {"limit": 2**63 - 1}, ("abc", 3, False)),
        # order
        (ALL | {"sort_order": "ASCEND"}, ("abc", 3, False)),
        (ALL | {"sort_order": "DESCEND"}, ("cba", 3, False)),
        (ALL | {"sort_target": "VERSION"}, ("bca", 3, False)),
        (ALL | {"sort_target": "VERSION", "sort_order": "DESCEND"}, ("abc", 3, False)),
        (ALL | {"sort_target": "CREATE", "sort_order": "DESCEND"}, ("cba", 3, False)),
        (ALL | {"sort_target": "MOD", "sort_order": "ASCEND"}, ("bac", 3, False)),
        (ALL | {"sort_target": "MOD"}, ("bac", 3, False)),
        (ALL | {"sort_target": "VALUE"}, ("cba", 3, False)),
        (ALL | {"sort_target": "VALUE", "keys_only": True}, ("cba", 3, False)),
        (ALL | {"sort_target": "VALUE", "limit": 1}, ("c", 3, True)),
        # revision
        (ALL | {"revision": 7}, ("abc", 3, False)),
        (ALL | {"revision": 5}, ("ab", 2, False)),
        (ALL | {"revision": 4}, ("abc", 3, False)),
        (ALL | {"revision": 4, "limit": 2}, ("ab", 3, True)),
        (ALL | {"revision": 2}, ("a", 1, False)),
        (ALL | {"revision": 1}, ("", 0, False)),
        (ALL | {"revision": -1}, ("abc", 3, False)),
        ({"key": b"c", "revision": 6}, ("", 0, False)),
        ({"key": b"c", "revision": 4}, ("c", 1, False)),
        # revision filters leave count alone; only limit makes more
        (ALL | {"min_mod_revision": 6}, ("ac", 3, False)),
        (ALL | {"max_mod_revision": 6}, ("ab", 3, False)),
        (ALL | {"min_create_revision": 3}, ("bc", 3, False)),
        (ALL | {"max_create_revision": 3}, ("ab", 3, False)),
        (ALL | {"min_mod_revision": 6, "limit": 1}, ("a", 3, True)),
        (ALL | {"min_mod_revision": 6, "limit": 2}, ("ac", 3, False)),
        ({"key": b"a", "min_mod_revision": 7}, ("", 1, False)),
        # count only
        (ALL | {"count_only": True}, ("", 3, False)),
        (ALL | {"count_only": True, "limit": 1}, ("", 3, False)),
        (ALL | {"count_only": True, "revision": 5}, ("", 2, False)),
        ({"key": b"a", "count_only": True}, ("", 1, False)),
        # serializable is the caller's business
        (ALL | {"serializable": True}, ("abc", 3, False)),
    ],
)
def test_range_options(store, options, expected):
    """Keys, count and more; the header always has the current revision."""
    response = store.range(RangeRequest(**options))
    assert (keys(response), response.count, response.more) == expected
    assert response.header.revision == 7


def test_a_key_value_is_complete(store):
    """All fields at the head, at an old revision, and without values."""
    (kv,) = store.range(get(b"a")).kvs
    assert (kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease) == (b"a", b"3", 2, 6, 2, 0)
    (kv,) = store.range(get(b"a", revision=5)).kvs
    assert (kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease) == (b"a", b"0", 2, 2, 1, 0)
    for revision in (0, 5):
        (kv,) = store.range(get(b"a", revision=revision, keys_only=True)).kvs
        assert (kv.key, kv.value, kv.create_revision) == (b"a", b"", 2)


def test_a_deleted_key_begins_anew(store):
    """A put after a delete creates: its version is 1 again."""
    (kv,) = store.range(get(b"c")).kvs
    assert (kv.create_revision, kv.mod_revision, kv.version) == (7, 7, 1)


def test_a_future_revision_is_refused_with_both_values(store):
    with pytest.raises(FutureRevision) as caught:
        store.range(get(b"a", revision=8))
    assert (caught.value.required, caught.value.current) == (8, 7)


def test_a_compacted_revision_is_refused_and_the_compacted_one_itself_is_not(store):
    """The compacted revision is the first that can still be read."""
    store._connection.execute("UPDATE progress SET compacted_revision = 5")
    store.rollback()  # reloads
    assert store.compacted_revision == 5
    assert keys(store.range(get(b"\0", b"\0", revision=5))) == "ab"
    with pytest.raises(Compacted) as caught:
        store.range(get(b"a", revision=4))
    assert (caught.value.required, caught.value.first_revision) == (4, 5)
    with pytest.raises(Compacted):
        store.read_txn(txn(success=[get(b"a", revision=4)]))


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (RangeRequest(), KeyNotProvided),
        (RangeRequest(range_end=b"z"), KeyNotProvided),
        (RangeRequest(key=b"a", sort_order=3), InvalidSortOption),
        (RangeRequest(key=b"a", sort_target=5), InvalidSortOption),
        (RangeRequest(key=b"a", sort_target=-1), InvalidSortOption),
    ],
)
def test_a_malformed_range_is_refused(store, request_, error):
    with pytest.raises(error) as caught:
        store.range(request_)
    assert isinstance(caught.value, Refused)


@pytest.mark.parametrize("every", [2, 3, revisions.MILESTONE_EVERY])
def test_a_long_history_can_be_read_at_every_revision(monkeypatch, every):
    """Milestones shorten the walk to an old revision and never skip the row that is looked for."""
    monkeypatch.setattr(revisions, "MILESTONE_EVERY", every)
    store = new_store()
    expected = {1: None}
    changes = []
    for number in range(2, 400):
        changes.append(delete(b"k") if number % 7 == 0 else put(b"k", b"%d" % number))
        expected[number] = None if number % 7 == 0 else b"%d" % number
    turn(store, batch(*map(entry, changes)))
    for revision, value in expected.items():
        found = [kv.value for kv in store.range(get(b"k", revision=revision)).kvs]
        assert found == ([] if value is None else [value])


def test_the_walk_to_an_old_revision_is_short():
    """2,000 changes: a handful of milestones and at most 64 rows between two of them, not 2,000 rows."""
    store = new_store()
    turn(store, batch(*(entry(put(b"k", b"%d" % number)) for number in range(2000))))
    (walked,) = store._connection.execute(
        "WITH RECURSIVE walk (id) AS (SELECT row FROM head UNION ALL"
        " SELECT CASE WHEN w.milestone > 5 THEN w.milestone ELSE w.previous END"
        " FROM walk JOIN revisions w ON w.id = walk.id WHERE walk.id > 5) SELECT count(*) FROM walk"
    ).fetchone()
    assert walked < 2000 / 64 + 64 + 2
    assert store.range(get(b"k", revision=6)).kvs[0].value == b"4"
