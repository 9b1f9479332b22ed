"""The KV handlers: what they ask of the replica, how they answer, what they refuse."""

import asyncio

import pytest
from kvproto.command_pb2 import Entry
from kvproto.etcd.rpc_pb2 import Compare, KeyValue, ResponseHeader

from kvstore.api import ApiError, Context
from kvstore.api.kv import Kv
from kvstore.mvcc.errors import Code
from kvstore.mvcc.validate import REQUEST_BYTES_MAX
from tests.api.fake_replica import FakeReplica
from tests.mvcc.helpers import delete, get, put, txn

CONTEXT = Context()
HAS_LEADER = Context(metadata=(("user-agent", "test"), ("hasleader", "true")))


def header(revision: int) -> ResponseHeader:
    return ResponseHeader(cluster_id=0xC1, member_id=1, raft_term=7, revision=revision)


def refused(coroutine) -> tuple[Code, str]:
    with pytest.raises(ApiError) as caught:
        asyncio.run(coroutine)
    assert str(caught.value) == caught.value.text
    return caught.value.code, caught.value.text


# Answers


def test_a_put_is_proposed_and_read_back():
    async def story() -> None:
        replica = FakeReplica()
        kv = Kv(replica)

        written = await kv.put(put(b"a", b"1"), CONTEXT)
        read = await kv.range(get(b"a"), CONTEXT)

        assert replica.proposed == [Entry(put=put(b"a", b"1"))]
        assert written.header == header(2)
        assert read.header == header(2)
        assert read.count == 1
        assert list(read.kvs) == [KeyValue(key=b"a", value=b"1", create_revision=2, mod_revision=2, version=1)]

    asyncio.run(story())


def test_a_delete_is_proposed_and_says_how_many():
    async def story() -> None:
        replica = FakeReplica()
        kv = Kv(replica)
        await kv.put(put(b"a"), CONTEXT)
        await kv.put(put(b"b"), CONTEXT)

        deleted = await kv.delete_range(delete(b"a", b"\0"), CONTEXT)

        assert replica.proposed[-1] == Entry(delete_range=delete(b"a", b"\0"))
        assert (deleted.header, deleted.deleted) == (header(4), 2)

    asyncio.run(story())


def test_a_transaction_is_signed_at_the_top_and_keeps_nested_revisions():
    async def story() -> None:
        kv = Kv(FakeReplica())

        answer = await kv.txn(txn(success=[put(b"a", b"1"), get(b"a")]), CONTEXT)

        assert answer.header == header(2)
        assert answer.succeeded
        nested_put, nested_range = answer.responses
        assert nested_put.response_put.header == ResponseHeader(revision=2)
        assert nested_range.response_range.header.revision == 2
        assert nested_range.response_range.kvs[0].value == b"1"

    asyncio.run(story())


# Reads


def test_a_linearizable_read_waits_for_the_state_and_then_sees_it():
    """What is applied while the read waits is part of the answer (L7)."""

    async def story() -> None:
        replica = FakeReplica()
        replica.go.clear()
        reading = asyncio.create_task(Kv(replica).range(get(b"a"), CONTEXT))
        await replica.someone_waits.wait()
        replica.apply(Entry(put=put(b"a", b"new")))
        replica.go.set()

        answer = await reading

        assert answer.kvs[0].value == b"new"
        assert (replica.confirmations, replica.proposed) == (1, [])

    asyncio.run(story())


def test_a_serializable_read_asks_nobody():
    async def story() -> None:
        replica = FakeReplica()
        replica.leads = False
        replica.go.clear()

        answer = await Kv(replica).range(get(b"a", serializable=True), CONTEXT)

        assert answer.header == header(1)
        assert replica.confirmations == 0

    asyncio.run(story())


@pytest.mark.parametrize(
    ("request_", "confirmations"),
    [
        (txn(success=[get(b"a")]), 1),
        (txn(success=[get(b"a", serializable=True)], failure=[get(b"b")]), 1),
        (txn(success=[get(b"a", serializable=True)], failure=[get(b"b", serializable=True)]), 0),
        (txn(success=[txn(success=[get(b"a")]), get(b"b", serializable=True)]), 1),
        (txn(success=[txn(failure=[get(b"a", serializable=True)])]), 0),
        (txn(compare=[Compare(key=b"a", target=Compare.VERSION)]), 1),
        (txn(), 1),
    ],
)
def test_a_read_only_transaction_costs_no_slot(request_, confirmations):
    """It needs a confirmation unless it reads, and all that it reads may be old."""

    async def story() -> None:
        replica = FakeReplica()

        answer = await Kv(replica).txn(request_, CONTEXT)

        assert answer.header == header(1)
        assert replica.proposed == []
        assert replica.confirmations == confirmations

    asyncio.run(story())


def test_a_transaction_that_could_write_is_proposed_even_if_it_does_not():
    async def story() -> None:
        replica = FakeReplica()
        request = txn(compare=[Compare(key=b"a", version=1)], success=[put(b"a")], failure=[get(b"a")])

        answer = await Kv(replica).txn(request, CONTEXT)

        assert (answer.header, answer.succeeded) == (header(1), False)
        assert replica.proposed == [Entry(txn=request)]
        assert replica.confirmations == 0

    asyncio.run(story())


# Refusals


@pytest.mark.parametrize(
    ("method", "request_", "text"),
    [
        ("range", get(b""), "etcdserver: key is not provided"),
        ("put", put(b"", b"1"), "etcdserver: key is not provided"),
        ("put", put(b"a", b"1", ignore_value=True), "etcdserver: value is provided"),
        ("put", put(b"a", b"x" * REQUEST_BYTES_MAX), "etcdserver: request is too large"),
        ("delete_range", delete(b""), "etcdserver: key is not provided"),
        ("delete_range", delete(b"a" * REQUEST_BYTES_MAX), "etcdserver: request is too large"),
        ("txn", txn(success=[put(b"a"), put(b"a")]), "etcdserver: duplicate key given in txn request"),
        ("txn", txn(success=[get(b"a")] * 129), "etcdserver: too many operations in txn request"),
        ("txn", txn(success=[put(b"a", b"x" * REQUEST_BYTES_MAX)]), "etcdserver: request is too large"),
    ],
)
def test_what_cannot_succeed_is_refused_before_it_costs_anything(method, request_, text):
    replica = FakeReplica()

    assert refused(getattr(Kv(replica), method)(request_, CONTEXT)) == (Code.INVALID_ARGUMENT, text)

    assert replica.proposed == []
    assert replica.confirmations == 0


def test_a_request_of_exactly_the_limit_is_taken():
    overhead = put(b"a", b"x" * REQUEST_BYTES_MAX).ByteSize() - REQUEST_BYTES_MAX
    request = put(b"a", b"x" * (REQUEST_BYTES_MAX - overhead))
    assert request.ByteSize() == REQUEST_BYTES_MAX

    answer = asyncio.run(Kv(FakeReplica()).put(request, CONTEXT))

    assert answer.header == header(2)


@pytest.mark.parametrize(
    ("method", "request_", "code", "text"),
    [
        ("put", put(b"a", lease=5), Code.NOT_FOUND, "etcdserver: requested lease not found"),
        ("put", put(b"a", ignore_value=True), Code.INVALID_ARGUMENT, "etcdserver: key not found"),
        (
            "range",
            get(b"a", revision=9),
            Code.OUT_OF_RANGE,
            "etcdserver: mvcc: required revision is a future revision",
        ),
        (
            "txn",
            txn(success=[get(b"a", revision=9)]),
            Code.OUT_OF_RANGE,
            "etcdserver: mvcc: required revision is a future revision",
        ),
    ],
)
def test_what_the_state_refuses_keeps_its_code_and_text(method, request_, code, text):
    assert refused(getattr(Kv(FakeReplica()), method)(request_, CONTEXT)) == (code, text)


ONE_OF_EACH = [("range", get(b"a")), ("put", put(b"a")), ("delete_range", delete(b"a")), ("txn", txn())]


@pytest.mark.parametrize(("method", "request_"), ONE_OF_EACH)
def test_a_client_that_wants_a_leader_is_refused_without_one(method, request_):
    replica = FakeReplica()
    replica.leads = False

    assert refused(getattr(Kv(replica), method)(request_, HAS_LEADER)) == (
        Code.UNAVAILABLE,
        "etcdserver: no leader",
    )

    assert replica.proposed == []
    assert replica.confirmations == 0


@pytest.mark.parametrize(("method", "request_"), ONE_OF_EACH)
def test_a_client_that_wants_a_leader_is_served_with_one(method, request_):
    asyncio.run(getattr(Kv(FakeReplica()), method)(request_, HAS_LEADER))


@pytest.mark.parametrize("metadata", [(), (("hasleader", "false"),), (("hasleader", "no"), ("hasleader", "true"))])
def test_only_the_first_value_of_hasleader_counts(metadata):
    assert not Context(metadata=metadata).requires_leader


@pytest.mark.parametrize(("method", "request_"), [*ONE_OF_EACH, ("txn", txn(success=[put(b"a")]))])
@pytest.mark.parametrize("patient", ["client", "server"])
def test_every_wait_ends(method, request_, patient):
    """At the shorter of the client's timeout and the server's, and nobody waits any more then."""

    async def story() -> tuple[Code, str]:
        replica = FakeReplica()
        replica.go.clear()
        kv = Kv(replica, request_timeout_s=0.01 if patient == "client" else 3600)
        context = Context(timeout_s=3600 if patient == "client" else 0.01)
        try:
            await getattr(kv, method)(request_, context)
        except ApiError as error:
            assert replica.waiting == 0
            return error.code, error.text
        raise AssertionError("it was answered")

    assert asyncio.run(story()) == (Code.UNAVAILABLE, "etcdserver: request timed out")
