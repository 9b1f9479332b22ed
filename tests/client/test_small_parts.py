"""Endpoints, keys, the transaction builder, results and calls: what needs no server."""

import dataclasses
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kvclient import Compare, Delete, Get, KeyValue, Put, PutResult, RangeResult, calls
from kvclient.endpoints import channel_options, parse_endpoints
from kvclient.keys import between, one, starting_with, to_bytes
from kvclient.transaction import TransactionParts
from kvproto.etcd import rpc_pb2 as rpc

# --- endpoints -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_as", "parsed"),
    [
        ("a:1", ("a:1",)),
        ("a:1,b:2", ("a:1", "b:2")),
        (" a:1 , b:2 ,", ("a:1", "b:2")),
        (["a:1", "b:2,c:3"], ("a:1", "b:2", "c:3")),
        (("a:1" for _ in range(1)), ("a:1",)),
        ("a:1,a:1,b:2", ("a:1", "b:2")),
        ("a", ("a:2379",)),
        ("http://a:1", ("a:1",)),
        ("HTTP://a/", ("a:2379",)),
        ("[::1]:1", ("[::1]:1",)),
        ("[::1]", ("[::1]:2379",)),
        ("http://[::1]:65535/", ("[::1]:65535",)),
    ],
)
def test_endpoints_as_people_write_them(given_as, parsed):
    assert parse_endpoints(given_as) == parsed


@pytest.mark.parametrize(
    ("given_as", "why"),
    [
        ("", "no endpoint"),
        (" , ", "no endpoint"),
        ([], "no endpoint"),
        ("https://a:1", "only http://"),
        ("unix:///tmp/socket", "only http://"),
        (":1", "not host:port"),
        ("::1", "needs brackets"),
        ("a/b:1", "not host:port"),
        ("http://a:1/v3", "not host:port"),
        ("a:", "port ''"),
        ("a:0", "port '0'"),
        ("a:65536", "port '65536'"),
        ("a:x", "port 'x'"),
        ("a:-1", "port '-1'"),
        ("a:²", "port '²'"),
    ],
)
def test_what_is_no_endpoint_is_refused_with_the_reason(given_as, why):
    with pytest.raises(ValueError, match=r"endpoint") as refused:
        parse_endpoints(given_as)
    assert why in str(refused.value)


def test_connecting_gets_a_share_of_the_time_so_that_every_endpoint_can_be_tried():
    def connect_ms(endpoints: int, timeout_s: float) -> int:
        return dict(channel_options(["a:1"] * endpoints, timeout_s=timeout_s))["grpc.min_reconnect_backoff_ms"]

    assert connect_ms(1, 1.0) == 500
    assert connect_ms(3, 1.0) == 250
    assert connect_ms(1, 60.0) == 1000, "no more than a second"
    assert connect_ms(3, 0.01) == 50, "no less than is needed"


# --- keys ------------------------------------------------------------------------------------------------------------


def test_text_to_bytes():
    assert to_bytes("ü☃") == "ü☃".encode()
    assert to_bytes(b"\xff\0") == b"\xff\0"
    assert to_bytes(bytearray(b"a")) == b"a"
    assert to_bytes(memoryview(b"a")) == b"a"
    assert to_bytes("caf\udce9") == b"caf\xe9"
    with pytest.raises(UnicodeEncodeError):
        to_bytes("\ud800")
    with pytest.raises(TypeError, match="not int: 1"):
        to_bytes(1)


def inside(interval, key: bytes) -> bool:
    """As etcd reads it."""
    if interval.range_end == b"":
        return key == interval.key
    return key >= interval.key and (interval.range_end == b"\0" or key < interval.range_end)


KEYS = st.lists(st.sampled_from([b"\0", b"a", b"b", b"\xfe", b"\xff"]), min_size=1, max_size=4).map(b"".join)


@given(prefix=KEYS | st.just(b""), key=KEYS)
def test_a_prefix_holds_the_keys_that_begin_with_it_and_no_other(prefix, key):
    assert inside(starting_with(prefix), key) == key.startswith(prefix)


@given(start=KEYS | st.just(b""), end=st.none() | KEYS.filter(lambda key: key != b"\0"), key=KEYS)
def test_a_range_holds_the_keys_from_its_start_to_before_its_end(start, end, key):
    assert inside(between(start, end), key) == (start <= key and (end is None or key < end))


def test_one_key_is_no_interval():
    assert one("a") == (b"a", b"")


@pytest.mark.parametrize("end", ["", b"\0"])
def test_an_end_below_which_there_is_no_key_would_mean_something_else_on_the_wire(end):
    with pytest.raises(ValueError, match="for a range without an end pass None"):
        between("a", end)


# --- transactions ----------------------------------------------------------------------------------------------------


def test_a_transaction_adds_up_in_order():
    parts = (
        TransactionParts()
        .when(Compare.value("a") == "1")
        .then(Put("a", "2"))
        .when(Compare.mod("b") > 3, Compare.lease("c") < 4)
        .then(Delete("b"), Get("c", prefix=True))
        .otherwise(Get("d"))
    )
    assert rpc.TxnRequest.FromString(calls.transaction(parts).payload) == rpc.TxnRequest(
        compare=[
            rpc.Compare(key=b"a", target="VALUE", result="EQUAL", value=b"1"),
            rpc.Compare(key=b"b", target="MOD", result="GREATER", mod_revision=3),
            rpc.Compare(key=b"c", target="LEASE", result="LESS", lease=4),
        ],
        success=[
            rpc.RequestOp(request_put=rpc.PutRequest(key=b"a", value=b"2")),
            rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=b"b")),
            rpc.RequestOp(request_range=rpc.RangeRequest(key=b"c", range_end=b"d")),
        ],
        failure=[rpc.RequestOp(request_range=rpc.RangeRequest(key=b"d"))],
    )


def test_zero_is_compared_with_zero_and_not_with_nothing():
    """On the wire an operand that is left out, and one that is 0, differ for a server that looks."""
    payload = calls.transaction(TransactionParts().when(Compare.absent("a"), Compare.value("a") == "")).payload
    absent, empty = rpc.TxnRequest.FromString(payload).compare
    assert (absent.WhichOneof("target_union"), empty.WhichOneof("target_union")) == ("version", "value")


@pytest.mark.parametrize(
    ("parts", "is_read"),
    [
        (TransactionParts(), True),
        (TransactionParts().when(Compare.exists("a")).then(Get("a")).otherwise(Get("b")), True),
        (TransactionParts().then(Get("a"), Put("a", "1")), False),
        (TransactionParts().otherwise(Put("a", "1")), False),
        (TransactionParts().then(Delete("a")), False),
    ],
)
def test_a_transaction_is_a_read_if_no_branch_could_write(parts, is_read):
    assert calls.transaction(parts).is_read is is_read


def test_a_comparison_is_no_bool():
    """Else ``and``, chains and ``if`` would silently drop half of what was meant."""
    comparison = Compare.value("a") == "1"
    with pytest.raises(TypeError, match="pass it to when"):
        bool(comparison)
    with pytest.raises(TypeError, match="pass it to when"):
        1 < Compare.mod("a") < 3  # noqa: B015  # the story
    assert hash(comparison) == hash(Compare.value(b"a") == b"1")
    with pytest.raises(TypeError, match="unhashable"):
        hash(Compare.value("a"))
    with pytest.raises(TypeError, match="unhashable"):
        hash(Compare.mod("a"))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Compare.value("a") == 1,
        lambda: Compare.mod("a") == "1",
        lambda: Compare.mod(1) == 1,
        lambda: TransactionParts().when("a == 1"),
        lambda: TransactionParts().then(Compare.exists("a")),
        lambda: TransactionParts().otherwise(None),
    ],
)
def test_a_wrong_part_is_refused_where_it_is_written(wrong):
    with pytest.raises(TypeError):
        wrong()


# --- calls and results -----------------------------------------------------------------------------------------------


def test_reads_and_writes_are_known_as_such():
    options = {"limit": 0, "revision": 0, "keys_only": False, "count_only": False, "descending": False}
    reads = [
        calls.get("a", revision=0, serializable=False),
        calls.range_(one("a"), serializable=True, **options),
        calls.status("a:1"),
        calls.members(),
    ]
    writes = [calls.put("a", "1"), calls.delete(one("a")), calls.compare_and_swap("a", None, "1")]
    assert [call.is_read for call in reads + writes] == [True] * 4 + [False] * 3
    assert [call.needs_leader for call in reads + writes] == [True, False, False, True, True, True, True]


def test_an_answer_to_another_question_is_unreadable():
    answer = rpc.TxnResponse(responses=[rpc.ResponseOp()]).SerializeToString()
    with pytest.raises(ValueError, match="not asked for"):
        calls.transaction(TransactionParts()).decode(answer)


def test_results_are_values():
    found = KeyValue(b"a", b"1", 2, 3, 2, 0)
    page = RangeResult((found,), count=1, more=False, revision=3)
    assert list(page) == [found]
    assert pickle.loads(pickle.dumps(page)) == page
    assert len({page, RangeResult((found,), count=1, more=False, revision=3)}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        PutResult(1).revision = 2
