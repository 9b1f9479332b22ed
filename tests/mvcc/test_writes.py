"""Revisions, puts, deletes and transactions: one story a rule, and every refusal in etcd's words."""

import pytest
from kvproto.command_pb2 import Entry
from kvproto.etcd.rpc_pb2 import Compare, PutRequest, RangeRequest, RequestOp, TxnRequest

from kvstore.mvcc import Limits, Refusal, txn_is_readonly
from kvstore.mvcc.errors import Code, RequestTooLarge, UnknownCommand
from kvstore.mvcc.validate import check_size

from .helpers import batch, delete, dump, entry, get, new_store, op, plain, put, run, turn, txn

INVALID, NOT_FOUND, OUT_OF_RANGE = "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE"
NO_KEY = (INVALID, "etcdserver: key is not provided")
DUPLICATE = (INVALID, "etcdserver: duplicate key given in txn request")
TOO_MANY = (INVALID, "etcdserver: too many operations in txn request")
KEY_NOT_FOUND = (INVALID, "etcdserver: key not found")


def nested(depth: int) -> TxnRequest:
    inner = txn(success=[put(b"deep")])
    for _ in range(depth - 1):
        inner = txn(success=[inner])
    return inner


def test_revisions_count_writes():
    """A store starts at 1; each write that changes something takes the next revision, and nothing else does."""
    store = new_store()
    assert store.revision == 1
    assert run(store, delete(b"a")).header.revision == 1
    assert run(store, put(b"a")).header.revision == 2
    assert run(store, txn(success=[get(b"a")])).header.revision == 2
    assert run(store, txn(success=[put(b"b"), put(b"c"), delete(b"a")])).header.revision == 3
    assert run(store, delete(b"nothing", b"\0")).header.revision == 3
    gone = run(store, delete(b"b", b"\0"))
    assert (gone.header.revision, gone.deleted, len(gone.prev_kvs)) == (4, 2, 0)
    assert store.range(get(b"a")).header.revision == store.revision == 4


def test_prev_kv_comes_only_when_asked_for():
    store = new_store()
    assert not run(store, put(b"a", b"1", prev_kv=True)).HasField("prev_kv")
    assert not run(store, put(b"a", b"2")).HasField("prev_kv")
    old = run(store, put(b"a", b"3", prev_kv=True)).prev_kv
    assert (old.key, old.value, old.create_revision, old.mod_revision, old.version) == (b"a", b"2", 2, 3, 2)
    gone = run(store, delete(b"a", prev_kv=True))
    assert [(kv.value, kv.version) for kv in gone.prev_kvs] == [(b"3", 3)]


def test_ignore_value_keeps_the_value():
    store = new_store()
    run(store, put(b"a", b"kept"))
    run(store, put(b"a", ignore_value=True, ignore_lease=True))
    (kv,) = store.range(get(b"a")).kvs
    assert (kv.value, kv.version, kv.mod_revision) == (b"kept", 2, 3)


def test_reads_in_a_txn_see_its_earlier_writes_and_all_writes_share_a_revision():
    """Headers inside show what was visible at that point."""
    store = new_store()
    run(store, put(b"a", b"old"))
    answer = run(
        store,
        txn(success=[get(b"a"), put(b"b", b"new"), get(b"\0", b"\0"), delete(b"a"), get(b"\0", b"\0"), txn()]),
    )
    first, second, third, fourth, fifth, sixth = answer.responses
    assert [kv.value for kv in first.response_range.kvs] == [b"old"]
    assert first.response_range.header.revision == 2
    assert second.response_put.header.revision == 3
    assert [(kv.key, kv.mod_revision) for kv in third.response_range.kvs] == [(b"a", 2), (b"b", 3)]
    assert (fourth.response_delete_range.deleted, fourth.response_delete_range.header.revision) == (1, 3)
    assert [kv.key for kv in fifth.response_range.kvs] == [b"b"]
    assert sixth.response_txn.header.revision == answer.header.revision == 3


def test_a_txn_can_read_the_revision_before_its_own_writes():
    store = new_store()
    run(store, put(b"a", b"old"))
    answer = run(store, txn(success=[put(b"a", b"new"), get(b"a", revision=2), get(b"a")]))
    assert answer.responses[1].response_range.kvs[0].value == b"old"
    assert answer.responses[2].response_range.kvs[0].value == b"new"


def test_nested_compares_see_the_state_before_the_whole_txn():
    """As in etcd: which branches run is settled before the first write."""
    store = new_store()
    inner = txn(compare=[Compare(key=b"a", target=Compare.VERSION, version=0)], success=[get(b"a")])
    answer = run(store, txn(success=[put(b"a"), inner]))
    assert answer.responses[1].response_txn.succeeded
    assert answer.responses[1].response_txn.responses[0].response_range.count == 1


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        # a: value "m", created 2, modified 3, version 2; b: value "n", created and modified 4, version 1
        (Compare(key=b"a", target=Compare.VERSION, version=2), True),
        (Compare(key=b"a", target=Compare.VERSION, result=Compare.NOT_EQUAL, version=2), False),
        (Compare(key=b"a", target=Compare.CREATE, create_revision=2), True),
        (Compare(key=b"a", target=Compare.CREATE, result=Compare.GREATER, create_revision=1), True),
        (Compare(key=b"a", target=Compare.MOD, result=Compare.LESS, mod_revision=3), False),
        (Compare(key=b"a", target=Compare.VALUE, value=b"m"), True),
        (Compare(key=b"a", target=Compare.VALUE, result=Compare.LESS, value=b"n"), True),
        (Compare(key=b"a", target=Compare.LEASE, lease=0), True),
        (Compare(key=b"a", target=Compare.LEASE, result=Compare.NOT_EQUAL, lease=0), False),
        # absent: zeros, and no value at all
        (Compare(key=b"x", target=Compare.VERSION, version=0), True),
        (Compare(key=b"x", target=Compare.MOD, result=Compare.LESS, mod_revision=1), True),
        (Compare(key=b"x", target=Compare.VALUE, value=b""), False),
        (Compare(key=b"x", target=Compare.VALUE, result=Compare.NOT_EQUAL, value=b"m"), False),
        # a missing or foreign operand is the target's zero
        (Compare(key=b"x"), True),
        (Compare(key=b"a", target=Compare.VERSION), False),
        (Compare(key=b"a", target=Compare.VERSION, mod_revision=2), False),
        # ranges: every key must hold
        (Compare(key=b"a", range_end=b"c", target=Compare.VERSION, result=Compare.GREATER, version=0), True),
        (Compare(key=b"a", range_end=b"c", target=Compare.VERSION, result=Compare.GREATER, version=1), False),
        (Compare(key=b"\0", range_end=b"\0", target=Compare.VALUE, result=Compare.LESS, value=b"z"), True),
        (Compare(key=b"\0", range_end=b"\0", target=Compare.VALUE, value=b"m"), False),
        (Compare(key=b"x", range_end=b"z", target=Compare.CREATE, create_revision=0), True),
        (Compare(key=b"x", range_end=b"z", target=Compare.VALUE, value=b""), False),
    ],
)
def test_compares(compare, holds):
    store = new_store()
    for command in (put(b"a", b"k"), put(b"a", b"m"), put(b"b", b"n")):
        run(store, command)
    assert store.read_txn(TxnRequest(compare=[compare])).succeeded is holds


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        (put(b""), NO_KEY),
        (delete(b""), NO_KEY),
        (delete(b"", b"\0"), NO_KEY),
        (txn(success=[put(b"")]), NO_KEY),
        (txn(failure=[delete(b"")]), NO_KEY),
        (txn(failure=[get(b"")]), NO_KEY),
        (txn(compare=[Compare()]), NO_KEY),
        (txn(success=[txn(failure=[put(b"")])]), NO_KEY),
        (put(b"a", b"v", ignore_value=True), (INVALID, "etcdserver: value is provided")),
        (put(b"a", lease=7, ignore_lease=True), (INVALID, "etcdserver: lease is provided")),
        (put(b"new", ignore_value=True), KEY_NOT_FOUND),
        (put(b"new", ignore_lease=True), KEY_NOT_FOUND),
        (put(b"gone", ignore_lease=True), KEY_NOT_FOUND),
        (txn(success=[put(b"x"), put(b"new", ignore_value=True)]), KEY_NOT_FOUND),
        (TxnRequest(success=[RequestOp()]), KEY_NOT_FOUND),
        (put(b"a", lease=7), (NOT_FOUND, "etcdserver: requested lease not found")),
        (txn(success=[put(b"x"), put(b"a", lease=-1)]), (NOT_FOUND, "etcdserver: requested lease not found")),
        (txn(success=[get(b"a", sort_target=9)]), (INVALID, "etcdserver: invalid sort option")),
        (
            txn(success=[put(b"x"), get(b"a", revision=5)]),
            (OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision"),
        ),
        (txn(compare=[Compare(key=b"a", target=9)]), (INVALID, "etcdserver: invalid compare option")),
        (txn(compare=[Compare(key=b"a", result=9)]), (INVALID, "etcdserver: invalid compare option")),
        (txn(success=[put(b"a"), put(b"a")]), DUPLICATE),
        (txn(failure=[put(b"a"), put(b"a")]), DUPLICATE),
        (txn(success=[put(b"a"), delete(b"a")]), DUPLICATE),
        (txn(success=[delete(b"a", b"c"), put(b"b")]), DUPLICATE),
        (txn(success=[delete(b"a", b"\0"), put(b"b")]), DUPLICATE),
        (txn(success=[put(b"b"), delete(b"\0", b"\0")]), DUPLICATE),
        (txn(success=[put(b"a"), txn(success=[put(b"a")])]), DUPLICATE),
        (txn(success=[txn(failure=[put(b"a")]), put(b"a")]), DUPLICATE),
        (txn(success=[txn(success=[put(b"a")]), txn(failure=[put(b"a")])]), DUPLICATE),
        (txn(success=[txn(success=[put(b"a")]), txn(success=[delete(b"a")])]), DUPLICATE),
        (txn(success=[delete(b"a"), txn(success=[txn(failure=[put(b"a")])])]), DUPLICATE),
        (txn(failure=[txn(success=[put(b"a"), put(b"a")])]), DUPLICATE),
        (txn(success=[put(b"%d" % i) for i in range(129)]), TOO_MANY),
        (txn(failure=[get(b"a")] * 129), TOO_MANY),
        (txn(compare=[Compare(key=b"a")] * 129), TOO_MANY),
        (txn(success=[txn(success=[get(b"a")] * 128)]), TOO_MANY),
        (nested(17), TOO_MANY),
    ],
)
def test_refusals_have_etcds_words_and_change_nothing(command, refusal):
    """The code, the text, and a state that differs in nothing but the slot and the hash, which covers every slot."""
    store = new_store()
    for earlier in (put(b"a", b"1"), put(b"gone"), delete(b"gone")):
        run(store, earlier)
    rows = [line for line in dump(store) if '"progress"' not in line]
    assert plain(run(store, command)) == refusal
    assert store.revision == 4
    assert [line for line in dump(store) if '"progress"' not in line] == rows


@pytest.mark.parametrize(
    "command",
    [
        TxnRequest(success=[op(put(b"a"))], failure=[op(put(b"a"))]),
        txn(success=[txn(success=[put(b"a")], failure=[put(b"a"), delete(b"b")])]),
        txn(success=[txn(success=[put(b"a")], failure=[delete(b"a")])]),
        txn(success=[delete(b"a"), delete(b"a", b"c")]),
        txn(success=[put(b"a"), delete(b"b", b"a")]),  # an empty range
        txn(success=[put(b"c"), delete(b"a", b"c")]),  # half open
        txn(success=[put(b"a\0"), delete(b"a")]),
        txn(success=[put(b"%d" % i) for i in range(128)]),
        txn(success=[txn(success=[get(b"a")] * 127)]),
        nested(16),
    ],
)
def test_these_are_no_duplicates_and_not_too_many(command):
    assert not isinstance(run(new_store(), command), Refusal)


def test_a_refused_entry_leaves_its_neighbours_alone():
    store = new_store()
    first, second, third = turn(store, batch(entry(put(b"a")), entry(put(b"")), entry(put(b"b"))))
    assert (first.header.revision, second.code, third.header.revision) == (2, Code.INVALID_ARGUMENT, 3)


def test_an_entry_of_a_newer_version_stops_the_replica():
    """Skipping what others execute would diverge."""
    store = new_store()
    store.begin()
    with pytest.raises(UnknownCommand, match="slot 0"):
        store.apply(0, batch(Entry()))
    store.rollback()
    assert store.applied_end == 0


def test_a_range_delete_of_many_pages():
    store = new_store()
    turn(store, batch(*(entry(put(b"%05d" % i)) for i in range(5000))))
    assert run(store, delete(b"00001", b"\0")).deleted == 4999
    assert store.range(get(b"\0", b"\0")).count == 1
    assert store.range(get(b"\0", b"\0", revision=5001, count_only=True)).count == 5000


@pytest.mark.parametrize(
    ("request_", "readonly"),
    [
        (txn(), True),
        (txn(success=[get(b"a")], failure=[txn(success=[get(b"a")])]), True),
        (txn(failure=[put(b"a")]), False),
        (txn(success=[delete(b"a")]), False),
        (txn(success=[txn(failure=[txn(success=[put(b"a")])])]), False),
    ],
)
def test_readonly_txns(request_, readonly):
    assert txn_is_readonly(request_) is readonly


def test_a_request_may_have_a_mebibyte_and_a_half():
    check_size(PutRequest(key=b"k", value=bytes(1024 * 1024)))
    with pytest.raises(RequestTooLarge, match="etcdserver: request is too large"):
        check_size(PutRequest(key=b"k", value=bytes(3 * 512 * 1024)))
    check_size(RangeRequest(key=b"k"))


def test_a_txn_as_deep_as_permitted_fits_into_a_batch():
    """What the API lets pass must parse again on every replica."""
    deepest = nested(Limits().txn_depth_max)
    sent = batch(entry(deepest)).SerializeToString()
    assert type(batch()).FromString(sent).entries[0].txn == deepest


def test_a_flood_of_nested_writes_is_checked_quickly():
    """Tens of thousands of puts and deletes without a clash: refused or not, but not compared pair by pair."""
    branches = [
        txn(success=[txn(success=[put(b"%d.%d.%d" % (i, j, k)) for k in range(40)]) for j in range(20)])
        for i in range(20)
    ]
    gaps = [txn(success=[txn(success=[delete(b"x%d" % i, b"x%d!" % i) for i in range(40)]) for _ in range(20)])] * 20
    answer = run(new_store(), txn(success=branches + gaps))
    assert (answer.header.revision, len(answer.responses)) == (2, 40)
