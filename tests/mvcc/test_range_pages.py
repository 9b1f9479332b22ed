"""A range that is read a page at a time answers as if it had been read at once, whatever is written in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kvproto.etcd.rpc_pb2 import RangeRequest

from kvstore.mvcc import ranges

from .helpers import delete, get, new_store, put, run

KEYS = [b"%c" % letter for letter in b"abcdefgh"]

writes = st.lists(
    st.one_of(st.builds(put, st.sampled_from(KEYS), st.binary(max_size=3)), st.builds(delete, st.sampled_from(KEYS))),
    max_size=12,
)
requests = st.builds(
    RangeRequest,
    key=st.sampled_from([b"\0", *KEYS]),
    range_end=st.sampled_from([b"\0", b"", *KEYS]),
    limit=st.integers(0, 5),
    sort_order=st.sampled_from(RangeRequest.SortOrder.values()),
    sort_target=st.sampled_from(RangeRequest.SortTarget.values()),
    keys_only=st.booleans(),
    count_only=st.booleans(),
    min_mod_revision=st.integers(0, 6),
    max_create_revision=st.integers(0, 6),
)


@pytest.fixture(autouse=True, scope="module")
def small_pages():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "_PAGE_ROWS", 2)
        patch.setattr(ranges, "_PAGE_COUNTED", 3)
        patch.setattr(ranges, "_PAGE_BYTES", 4)
        yield


@given(before=writes, during=writes, request=requests, past=st.integers(0, 3))
def test_pages_are_one_revision(before, during, request, past):
    store = new_store()
    for command in before:
        run(store, command)
    request.revision = max(0, store.revision - past) if past else 0
    at_once = store.range(request)
    scan = store.begin_range(request)
    meanwhile = iter(during)
    while not store.advance(scan):
        for command in (next(meanwhile, None),):
            if command is not None:
                run(store, command)
    assert scan.response == at_once


def test_a_page_ends_with_its_bytes_too():
    """So that large values do not make long pages."""
    store = new_store()
    for key in KEYS:
        run(store, put(key, bytes(100)))
    scan = store.begin_range(get(b"\0", b"\0"))
    steps = 1
    while not store.advance(scan):
        steps += 1
    assert steps > len(KEYS)
    assert [kv.key for kv in scan.response.kvs] == KEYS
