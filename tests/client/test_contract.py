"""What both clients do alike, over the API's own services: each story is told twice."""

import pytest
from kvclient import (
    Compacted,
    Compare,
    Delete,
    DeleteResult,
    EndpointStatus,
    FutureRevision,
    Get,
    InvalidArgument,
    KeyValue,
    Member,
    Put,
    PutResult,
    RangeResult,
    TxnResult,
)
from kvproto.command_pb2 import Entry, PublishMember

from kvstore.api import ConfiguredMember


def kv(key: bytes, value: bytes, created: int, modified: int | None = None, version: int = 1) -> KeyValue:
    return KeyValue(key, value, created, modified or created, version, lease=0)


@pytest.fixture
def client(connect, server):
    return connect(server.endpoint)


def test_what_is_put_is_got(client):
    assert client.put("a", "1") == PutResult(revision=2)
    assert client.put("a", "2") == PutResult(revision=3)

    assert client.get("a") == kv(b"a", b"2", 2, 3, version=2)
    assert client.get("a", revision=2) == kv(b"a", b"1", 2)
    assert client.get("b") is None


def test_text_is_utf8_and_bytes_pass(client):
    """So does whatever ``os.fsdecode`` made of bytes that are no UTF-8."""
    every_byte = bytes(range(256))
    client.put("schlüssel", "wert ☃")
    client.put(every_byte, every_byte[::-1])
    client.put("caf\udce9", bytearray(b"latin-1"))

    assert client.get("schlüssel".encode()).value == "wert ☃".encode()
    assert client.get(every_byte).value == every_byte[::-1]
    assert client.get(b"caf\xe9").value == b"latin-1"
    assert client.get("schlüssel").key == "schlüssel".encode()


def test_an_empty_value_is_a_value(client):
    client.put("a", "")
    assert client.get("a") == kv(b"a", b"", 2)


def test_ranges(client):
    for number, key in enumerate((b"a", b"b", b"b\0", b"c", b"\xff")):
        client.put(key, str(number))
    a, b, b0, c, last = (
        kv(key, b"%d" % number, number + 2) for number, key in enumerate((b"a", b"b", b"b\0", b"c", b"\xff"))
    )

    assert client.range("a", "c") == RangeResult((a, b, b0), count=3, more=False, revision=6)
    assert client.range("b", None).kvs == (b, b0, c, last)
    assert client.range("", None).kvs == (a, b, b0, c, last)
    assert client.range("b", "b").kvs == ()
    assert client.range("c", "a") == RangeResult((), count=0, more=False, revision=6)
    assert client.range("a", None, limit=2) == RangeResult((a, b), count=5, more=True, revision=6)
    assert client.range("a", None, descending=True, limit=1).kvs == (last,)
    assert client.range("a", "c", keys_only=True).kvs[0] == kv(b"a", b"", 2)
    assert client.range("a", "c", count_only=True) == RangeResult((), count=3, more=False, revision=6)
    assert client.range("a", None, revision=3).kvs == (a, b)
    assert [found.key for found in client.range("a", "c")] == [b"a", b"b", b"b\0"]


def test_prefixes(client):
    for key in (b"user/1", b"user/2", b"user0", b"\xff", b"\xff\xff1"):
        client.put(key, "")

    def keys(prefix, **options):
        return [found.key for found in client.get_prefix(prefix, **options)]

    assert keys("user/") == [b"user/1", b"user/2"]
    assert keys("user/", descending=True, limit=1) == [b"user/2"]
    assert keys("user/", revision=2) == [b"user/1"]
    assert keys(b"\xff") == [b"\xff", b"\xff\xff1"]
    assert keys(b"\xff\xff") == [b"\xff\xff1"]
    assert keys("") == [b"user/1", b"user/2", b"user0", b"\xff", b"\xff\xff1"]
    assert keys("nobody") == []
    assert client.get_prefix("user/", count_only=True).count == 2
    assert client.get_prefix("user/", keys_only=True).kvs[0].value == b""


def test_pages_of_one_state(client):
    """Read at the first page's revision, the pages fit together whatever is written meanwhile."""
    for number in range(5):
        client.put(f"k{number}", "")

    page = client.get_prefix("k", limit=2)
    revision, found = page.revision, list(page)
    while page.more:
        client.put("k9", "too late")
        page = client.range(found[-1].key + b"\0", "l", limit=2, revision=revision)
        found += page

    assert [one.key for one in found] == [b"k0", b"k1", b"k2", b"k3", b"k4"]


def test_deletes(client):
    for key in ("a", "b", "c/1", "c/2", "d", "e"):
        client.put(key, "")

    assert client.delete("a") == DeleteResult(deleted=1, revision=8)
    assert client.delete("a") == DeleteResult(deleted=0, revision=8)
    assert client.delete_prefix("c/") == DeleteResult(deleted=2, revision=9)
    assert client.delete_range("b", "d") == DeleteResult(deleted=1, revision=10)
    assert client.delete_range("e", None) == DeleteResult(deleted=1, revision=11)
    assert [found.key for found in client.get_prefix("")] == [b"d"]
    assert client.delete_prefix("").deleted == 1


def test_compare_and_swap(client):
    assert client.compare_and_swap("a", None, "1") is True
    assert client.compare_and_swap("a", None, "2") is False
    assert client.compare_and_swap("a", "1", "2") is True
    assert client.compare_and_swap("a", "1", "3") is False
    assert client.compare_and_swap("b", "", "1") is False, "absent is not empty"
    assert client.get("a").value == b"2"
    assert client.get("b") is None


def test_a_transaction_takes_one_branch_at_one_revision(client):
    client.put("a", "1")

    done = (
        client.txn()
        .when(Compare.value("a") == "1", Compare.absent("b"))
        .then(Put("b", "2"), Get("b"), Delete("a"), Get("", prefix=True))
        .otherwise(Get("a"))
        .commit()
    )
    b = kv(b"b", b"2", 3)
    assert done == TxnResult(
        succeeded=True,
        results=(
            PutResult(revision=3),
            RangeResult((b,), count=1, more=False, revision=3),
            DeleteResult(deleted=1, revision=3),
            RangeResult((b,), count=1, more=False, revision=3),
        ),
        revision=3,
    )

    not_done = client.txn().when(Compare.exists("a")).then(Put("a", "3")).otherwise(Delete("", prefix=True)).commit()
    assert (not_done.succeeded, not_done.results) == (False, (DeleteResult(deleted=1, revision=4),))


def test_comparisons(client):
    """Each relation of each target; an absent key's value compares with nothing, its numbers are 0."""
    client.put("a", "1")
    cases = [
        (Compare.value("a") == "1", True),
        (Compare.value("a") != "1", False),
        (Compare.value("a") > "0", True),
        (Compare.value("a") < b"1", False),
        (Compare.version("a") == 1, True),
        (Compare.create("a") > 1, True),
        (Compare.mod("a") < 3, True),
        (Compare.mod("a") != 2, False),
        (Compare.lease("a") == 0, True),
        (Compare.exists("a"), True),
        (Compare.absent("a"), False),
        (Compare.value("b") != "1", False),
        (Compare.version("b") == 0, True),
        (Compare.absent("b"), True),
    ]
    for comparison, holds in cases:
        assert client.txn().when(comparison).commit().succeeded is holds, comparison


def test_a_transaction_without_writes_costs_no_write(client, server):
    assert client.txn().commit() == TxnResult(succeeded=True, results=(), revision=1)
    assert client.txn().then(Get("a")).commit().results == (RangeResult((), count=0, more=False, revision=1),)
    assert server.writes == 0


def test_linearizable_unless_serializable(client, server):
    client.get("a")
    client.get_prefix("a")
    client.range("a", None)
    assert server.replica.confirmations == 3
    client.get("a", serializable=True)
    client.get_prefix("a", serializable=True)
    client.range("a", None, serializable=True)
    assert server.replica.confirmations == 3


def test_without_a_quorum_serializable_reads_still_work(client, server):
    client.put("a", "1")
    server.hold_back()
    server.replica.leads = False
    assert client.get("a", serializable=True).value == b"1"
    assert client.status()[0].leader == 0


def test_status_is_of_every_endpoint(connect, server):
    with connect([server.endpoint]) as client:
        client.put("a", "1")
        (status,) = client.status()
    assert status == EndpointStatus(
        endpoint=server.endpoint,
        member_id=1,
        leader=1,
        ballot_round=7,
        decided=1,
        applied=1,
        size_bytes=status.size_bytes,
        version="3.4.0",
        revision=2,
    )
    assert status.size_bytes > 0


def test_members(client, server):
    def publish() -> None:
        server.replica.members.append(ConfiguredMember(node_id=2, peer_address="10.0.0.2:2380"))
        member = PublishMember(node_id=1, name="one", client_urls=["http://127.0.0.1:2379"])
        server.replica.apply(Entry(publish_member=member))

    server.loop.call(publish)
    one, two = client.members()
    assert one == Member(1, "one", ("http://127.0.0.1:2380",), ("http://127.0.0.1:2379",), is_learner=False)
    assert (two.member_id, two.client_urls) == (2, ())


def test_refusals_keep_the_servers_words(client, server):
    cases = [
        (lambda: client.put("", "1"), InvalidArgument, "etcdserver: key is not provided"),
        (lambda: client.get(""), InvalidArgument, "etcdserver: key is not provided"),
        (lambda: client.delete(""), InvalidArgument, "etcdserver: key is not provided"),
        (
            lambda: client.get("a", revision=9),
            FutureRevision,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        (lambda: client.put("a", b"x" * 1_600_000), InvalidArgument, "etcdserver: request is too large"),
        (
            lambda: client.txn().then(Put("a", "1"), Put("a", "2")).commit(),
            InvalidArgument,
            "etcdserver: duplicate key given in txn request",
        ),
        (
            lambda: client.txn().then(*(Get(str(number)) for number in range(129))).commit(),
            InvalidArgument,
            "etcdserver: too many operations in txn request",
        ),
    ]
    for act, kind, text in cases:
        with pytest.raises(kind) as refused:
            act()
        assert type(refused.value) is kind
        assert (refused.value.text, refused.value.endpoint) == (text, server.endpoint)
    assert not issubclass(FutureRevision, Compacted)
    assert server.writes == 0


def test_an_answer_of_many_megabytes_is_taken(client):
    """A limit of the client's own would throw away answers, of writes that were done too."""
    for number in range(6):
        client.put(f"big/{number}", b"x" * 1_000_000)
    assert sum(len(found.value) for found in client.get_prefix("big/")) == 6_000_000


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (lambda client: client.put(1, "1"), TypeError),
        (lambda client: client.put("a", None), TypeError),
        (lambda client: client.get("a", revision="1"), TypeError),
        (lambda client: client.get("a", revision=2**63), ValueError),
        (lambda client: client.get("a", timeout=0), ValueError),
        (lambda client: client.get("a", timeout=float("nan")), ValueError),
        (lambda client: client.put("a", "1", timeout=float("inf")), ValueError),
        (lambda client: client.status(timeout=-1), ValueError),
        (lambda client: client.range("a", ""), ValueError),
        (lambda client: client.range("a", b"\0"), ValueError),
        (lambda client: client.delete_range("a", ""), ValueError),
        (lambda client: client.txn().when(True), TypeError),
        (lambda client: client.txn().then("put"), TypeError),
        (lambda client: client.txn().when(Compare.mod("a") == 2**63).commit(), ValueError),
    ],
)
def test_wrong_arguments_are_pythons_errors_and_nothing_is_sent(client, server, act, kind):
    with pytest.raises(kind):
        act(client)
    assert (server.writes, server.replica.confirmations) == (0, 0)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e300])
def test_a_client_needs_a_sensible_timeout(connect, timeout):
    with pytest.raises(ValueError, match="a timeout is more than 0 seconds and at most 31536000"):
        connect("127.0.0.1:2379", timeout=timeout)


def test_endpoints_are_a_text_or_a_list(connect):
    assert connect("a:1,b:2").endpoints == ("a:1", "b:2")
    assert connect(["a:1", "http://b"]).endpoints == ("a:1", "b:2379")
    with pytest.raises(ValueError, match="no endpoint"):
        connect("")
