"""Whatever is asked in whatever order, the store answers what the model answers; and it does so deterministically."""

import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kvproto.etcd.rpc_pb2 import Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest

from kvstore.mvcc import Store, revisions, txn_is_readonly
from kvstore.mvcc.errors import Refused

from .helpers import batch, dump, entry, new_store, op, plain, turn
from .model import Model

KEYS = (b"a", b"a\0", b"ab", b"b", b"\0", b"\xff", b"\xff\xff")
keys = st.sampled_from(KEYS)
rarely_empty_keys = st.one_of(*[keys] * 20, st.just(b""))
range_ends = st.one_of(st.just(b""), st.just(b"\0"), keys)
values = st.sampled_from((b"", b"x", b"y", b"\xff\0"))
read_revisions = st.one_of(st.just(0), st.integers(-1, 12))
filters = st.one_of(st.just(0), st.just(0), st.integers(0, 12))
flags = st.booleans()
rarely = st.sampled_from((False, False, False, True))

puts = st.builds(
    PutRequest,
    key=rarely_empty_keys,
    value=values,
    lease=st.sampled_from((0,) * 15 + (7,)),
    prev_kv=flags,
    ignore_value=rarely,
    ignore_lease=rarely,
)
deletes = st.builds(DeleteRangeRequest, key=rarely_empty_keys, range_end=range_ends, prev_kv=flags)
ranges = st.builds(
    RangeRequest,
    key=rarely_empty_keys,
    range_end=range_ends,
    limit=st.sampled_from((0, 0, 1, 2, 3, -1, 2**63 - 1)),
    revision=read_revisions,
    sort_order=st.sampled_from(RangeRequest.SortOrder.values()),
    sort_target=st.sampled_from(RangeRequest.SortTarget.values()),
    serializable=flags,
    keys_only=flags,
    count_only=rarely,
    min_mod_revision=filters,
    max_mod_revision=filters,
    min_create_revision=filters,
    max_create_revision=filters,
)


@st.composite
def compares(draw) -> Compare:
    compare = Compare(
        result=draw(st.sampled_from(Compare.CompareResult.values())),
        target=draw(st.sampled_from(Compare.CompareTarget.values())),
        key=draw(rarely_empty_keys),
        range_end=draw(range_ends),
    )
    match draw(st.integers(0, 5)):
        case 0:
            compare.version = draw(st.integers(0, 3))
        case 1:
            compare.create_revision = draw(st.integers(0, 8))
        case 2:
            compare.mod_revision = draw(st.integers(0, 8))
        case 3:
            compare.value = draw(values)
        case 4:
            compare.lease = draw(st.integers(0, 1))
    return compare


def txns_of(operations: st.SearchStrategy[RequestOp]) -> st.SearchStrategy[TxnRequest]:
    return st.builds(
        TxnRequest,
        compare=st.lists(compares(), max_size=2),
        success=st.lists(operations, max_size=3),
        failure=st.lists(operations, max_size=3),
    )


simple = st.one_of(puts.map(op), deletes.map(op), ranges.map(op))
operations = st.recursive(simple, lambda inner: st.one_of(simple, txns_of(inner).map(op)), max_leaves=6)
txns = txns_of(operations)
reads = st.one_of(ranges, txns_of(ranges.map(op)))
steps = st.lists(st.one_of(puts, puts, deletes, txns, reads), min_size=1, max_size=20)


def answer_of_read(store: Store, request):
    try:
        return store.read_txn(request) if isinstance(request, TxnRequest) else store.range(request)
    except Refused as refused:
        return (refused.code.name, refused.text)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(steps=steps, cuts=st.lists(st.booleans(), min_size=20, max_size=20))
def test_every_answer_is_the_models(steps, cuts):
    """The store, driven a step at a time with reads in the middle of turns, answers as the model does. A second store
    that applies the same slots in one single turn, and a third that reopens after each slot, end up the same."""
    check(steps, cuts)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(steps=steps, cuts=st.lists(st.booleans(), min_size=20, max_size=20))
def test_buffers_caches_and_pages_change_no_answer(steps, cuts):
    """The same with everything that exists for speed made as small as it can be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(revisions, "_PENDING_MAX", 2)
        patch.setattr(revisions, "_PAGE", 1)
        patch.setattr(revisions, "_CACHE_BYTES_MAX", 0)
        patch.setattr(revisions, "MILESTONE_EVERY", 2)
        check(steps, cuts)


def check(steps, cuts):
    store, model = new_store(), Model([])
    reopened_connection = sqlite3.connect(":memory:")
    slots = []
    store.begin()
    for step, cut in zip(steps, cuts, strict=False):
        if isinstance(step, RangeRequest) or (isinstance(step, TxnRequest) and txn_is_readonly(step)):
            assert answer_of_read(store, step) == model.read(step)
        else:
            slots.append(batch(entry(step)))
            (result,) = store.apply(store.applied_end, slots[-1])
            assert plain(result) == model.apply(step)
            assert store.revision == model.revision
        if cut:
            store.commit()
            store.begin()
    store.commit()

    at_once = new_store()
    turn(at_once, *slots)
    reopened = Store(reopened_connection)
    for slot in slots:
        turn(reopened, slot)
        reopened = Store(reopened_connection)

    assert store.state_hash == at_once.state_hash == reopened.state_hash
    assert dump(store) == dump(at_once) == dump(reopened)
    for revision in range(1, model.revision + 1):
        everything = RangeRequest(key=b"\0", range_end=b"\0", revision=revision)
        assert store.range(everything) == reopened.range(everything) == model.read(everything)
