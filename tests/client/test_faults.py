"""Servers that fail, hang, break and lie. Reads go on elsewhere; a write is sent again only where it certainly was not
done, and otherwise the error says what is known. The servers count what reaches them.
"""

import time
from functools import partial

import grpc
import pytest
from grpc import StatusCode
from kvclient import (
    Client,
    ClientClosed,
    Compacted,
    Compare,
    DeadlineExceeded,
    Delete,
    FutureRevision,
    KvError,
    NoLeader,
    Put,
    ResourceExhausted,
    ServerFailed,
    Unavailable,
    UnknownOutcome,
    Unsupported,
)
from kvproto.etcd import rpc_pb2 as rpc

from tests.client import raw_server as raw
from tests.client.raw_server import raw_server
from tests.client.servers import WAIT_S, Answer, Hang, Refuse, scripted, served, unused_endpoint
from tests.waiting import until_blocking

NO_LEADER = Refuse(StatusCode.UNAVAILABLE, "etcdserver: no leader")
NOT_PROPOSED = Refuse(StatusCode.UNAVAILABLE, "etcdserver: not proposed: the leader could not be reached in time")
TIMED_OUT = Refuse(StatusCode.UNAVAILABLE, "etcdserver: request timed out")
LEADER_CHANGED = Refuse(StatusCode.UNAVAILABLE, "etcdserver: leader changed")
PUT_DONE = Answer(rpc.PutResponse(header={"revision": 2}).SerializeToString())
FOUND = Answer(rpc.RangeResponse(header={"revision": 2}, kvs=[{"key": b"a", "value": b"1"}]).SerializeToString())

WRITES = {
    "put": lambda client: client.put("a", "1"),
    "delete": lambda client: client.delete("a"),
    "delete_prefix": lambda client: client.delete_prefix("a"),
    "delete_range": lambda client: client.delete_range("a", "b"),
    "compare_and_swap": lambda client: client.compare_and_swap("a", "1", "2"),
    "put in a txn": lambda client: client.txn().when(Compare.exists("a")).otherwise(Put("a", "1")).commit(),
    "delete in a txn": lambda client: client.txn().then(Delete("a")).commit(),
}
FATES = {  # what happens to a request that has come whole
    "TCP reset": raw.reset,
    "TCP close": raw.close,
    "no HTTP/2": raw.garbage,
    "NO_ERROR": raw.reset_stream(0x0),
    "INTERNAL_ERROR": raw.reset_stream(0x2),
    "REFUSED_STREAM": raw.reset_stream(0x7),
    "CANCEL": raw.reset_stream(0x8),
    "ENHANCE_YOUR_CALM": raw.reset_stream(0xB),
    "INADEQUATE_SECURITY": raw.reset_stream(0xC),
    "GOAWAY, stream seen": raw.go_away(2**31 - 1),
    "GOAWAY, stream not seen": raw.go_away(0),
    "HTTP 502": raw.http_status(502),
    "HTTP 503": raw.http_status(503),
    "HTTP 429": raw.http_status(429),
    "no status": raw.trailers(("x-nothing", "0")),
    "an unknown status": raw.trailers(("grpc-status", "77"), ("grpc-message", "what")),
    "no body": raw.trailers(("grpc-status", "0")),
    "half a body": raw.trailers(("grpc-status", "0"), body=b"\0\0\0\0\7x"),
    "a broken message": raw.trailers(("grpc-status", "0"), body=b"\0\0\0\0\2\xff\xff"),
}


@pytest.fixture
def connect(connect):
    """These calls travel alone; what becomes of a session's: tests/client/session."""
    return partial(connect, pipelined=False)


@pytest.mark.parametrize("fate", [TIMED_OUT, LEADER_CHANGED, Refuse(StatusCode.INTERNAL, "oh"), Answer(b"\xff\xff")])
def test_a_write_without_an_answer_is_of_unknown_outcome_and_sent_once(connect, fate):
    """Every kind of write; none of them goes to the endpoint that would have taken it."""
    with scripted(fate) as first, scripted(PUT_DONE) as second:
        for sent, (name, write) in enumerate(WRITES.items(), start=1):
            with pytest.raises(UnknownOutcome) as unknown:
                write(connect([first.endpoint, second.endpoint]))
            assert (len(first.calls), second.calls) == (sent, []), name
            assert unknown.value.endpoint == first.endpoint
            assert "whether the write was done is unknown" in str(unknown.value)


def test_a_write_that_reached_a_server_which_broke_is_sent_once(connect, server):
    """Whatever HTTP/2 has to say about it: the request was there, whole."""
    for name, fate in FATES.items():
        with raw_server(fate) as broken:
            try:
                done = connect([broken.endpoint, server.endpoint]).put("a", "1")
                raise AssertionError(f"{name}: {done}")
            except UnknownOutcome:
                assert (broken.requests, server.writes) == (1, 0), name


def test_a_read_that_met_a_broken_server_is_answered_elsewhere(connect, server):
    """Once per server that is not broken; where all are, the error says so."""
    for asked, (name, fate) in enumerate(FATES.items(), start=1):
        with raw_server(fate) as broken:
            assert connect([broken.endpoint, server.endpoint]).get("a") is None, name
            assert (broken.requests, server.replica.confirmations) == (1, asked), name


def test_a_fault_of_every_server_is_seen_at_once(connect):
    """It is not tried again until time is up, as a lost connection is."""
    for fate in (
        Refuse(StatusCode.INTERNAL, "oh"),
        Answer(b"\xff"),
        Refuse(StatusCode.RESOURCE_EXHAUSTED, "not etcd's"),
    ):
        with scripted(fate) as one, scripted(fate) as other:
            with pytest.raises(ServerFailed) as failed:
                connect([one.endpoint, other.endpoint], timeout=20).get("a")
            assert (len(one.calls), len(other.calls)) == (1, 1)
            assert failed.value.endpoint == other.endpoint


@pytest.mark.parametrize("refusal", [NO_LEADER, NOT_PROPOSED], ids=["no leader", "not proposed"])
def test_a_write_that_was_certainly_not_done_is_sent_again(connect, refusal):
    """To the next endpoint, and round again, until one takes it."""
    with scripted(refusal, refusal, PUT_DONE) as first, scripted(refusal) as second:
        assert connect([first.endpoint, second.endpoint]).put("a", "1").revision == 2
        sent = {payload for _, payload in first.calls + second.calls}
    assert (len(first.calls), len(second.calls)) == (3, 2)
    assert sent == {rpc.PutRequest(key=b"a", value=b"1").SerializeToString()}


def test_without_a_leader_the_deadline_ends_it_and_nothing_was_done(connect):
    for act in (lambda client: client.put("a", "1", timeout=0.2), lambda client: client.get("a", timeout=0.2)):
        with scripted(NO_LEADER) as one, scripted(NO_LEADER) as other:
            with pytest.raises(NoLeader) as no_leader:
                act(connect([one.endpoint, other.endpoint]))
            assert min(len(one.calls), len(other.calls)) >= 1
        assert isinstance(no_leader.value, Unavailable)
        assert no_leader.value.text == "etcdserver: no leader"


def test_where_nobody_listens_nothing_was_done(connect):
    with unused_endpoint() as nobody:
        for act in (lambda client: client.put("a", "1"), lambda client: client.get("a")):
            with pytest.raises(Unavailable) as unavailable:
                act(connect(nobody, timeout=0.3))
            assert type(unavailable.value) is Unavailable
            assert "Connection refused" in unavailable.value.text
            assert unavailable.value.endpoint == nobody


def test_where_nobody_listens_the_next_endpoint_is_asked(connect, server):
    with unused_endpoint() as nobody:
        client = connect([nobody, server.endpoint])
        assert client.put("a", "1").revision == 2
        assert client.get("a").value == b"1"
        assert server.writes == 1


def test_a_name_that_does_not_exist_is_no_endpoint(connect, server):
    client = connect(["does-not-exist.invalid:2379", server.endpoint])
    client.put("a", "1")
    assert server.writes == 1
    with pytest.raises(Unavailable):
        connect("does-not-exist.invalid:2379", timeout=0.5).put("a", "1")


def test_the_endpoint_that_answered_is_asked_first_next_time(connect):
    with scripted(NO_LEADER) as first, scripted(PUT_DONE) as second:
        client = connect([first.endpoint, second.endpoint])
        for _ in range(5):
            client.put("a", "1")
    assert (len(first.calls), len(second.calls)) == (1, 5)


def test_a_read_leaves_an_endpoint_that_keeps_silent_in_time(connect):
    with scripted(Hang()) as silent, scripted(FOUND) as talks:
        client = connect([silent.endpoint, talks.endpoint], timeout=1.0)
        assert client.get("a").value == b"1"
        assert client.get_prefix("a").kvs[0].value == b"1", "and the next one does not try it first"
    assert (len(silent.calls), len(talks.calls)) == (1, 2)


def test_deadlines_hold(connect):
    with scripted(Hang()) as silent:
        client = connect(silent.endpoint, timeout=0.3)
        for act, kind in ((client.get, DeadlineExceeded), (client.delete, UnknownOutcome)):
            began = time.monotonic()
            with pytest.raises(kind):
                act("a")
            assert 0.29 <= time.monotonic() - began < 10
        with pytest.raises(UnknownOutcome):
            client.put("a", "1", timeout=0.1)
        assert [method for method, _ in silent.calls] == [
            "/etcdserverpb.KV/Range",
            "/etcdserverpb.KV/DeleteRange",
            "/etcdserverpb.KV/Put",
        ]


def is_connected(client, endpoint: str) -> bool:
    """What the client knows without trying: to try is to notice."""
    if isinstance(client, Client):
        channel = client._core._channels[endpoint]
        return client._background.run(state(channel)) is grpc.ChannelConnectivity.READY
    channel = client._client._core._channels[endpoint]
    return client._loop.run(state(channel)) is grpc.ChannelConnectivity.READY


async def state(channel) -> grpc.ChannelConnectivity:
    return channel.get_state()


def test_a_server_that_went_between_two_calls_costs_no_write_its_certainty(connect):
    """The client notices while it is idle: the next write has no connection to be lost on."""
    with served() as first, served() as second:
        client = connect([first.endpoint, second.endpoint])
        client.put("a", "1")
        until_blocking(lambda: is_connected(client, first.endpoint))
        first.stop()
        until_blocking(lambda: not is_connected(client, first.endpoint))
        client.put("a", "2")
        assert (first.writes, second.writes) == (1, 1)


def test_a_server_that_comes_back_is_used_again(connect, server):
    client = connect(server.endpoint, timeout=WAIT_S)
    client.put("a", "1")
    until_blocking(lambda: is_connected(client, server.endpoint))
    server.stop()
    until_blocking(lambda: not is_connected(client, server.endpoint))
    with pytest.raises(Unavailable):
        client.put("a", "2", timeout=0.2)
    server.start()
    client.put("a", "3")
    assert server.writes == 2


def test_refusals_are_not_sent_again(connect):
    cases = [
        (StatusCode.RESOURCE_EXHAUSTED, "etcdserver: too many requests", ResourceExhausted),
        (StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", ResourceExhausted),
        (StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", Compacted),
        (StatusCode.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision", FutureRevision),
        (StatusCode.UNIMPLEMENTED, "", Unsupported),
    ]
    for code, text, kind in cases:
        with scripted(Refuse(code, text)) as first, scripted(PUT_DONE) as second:
            for act in (lambda client: client.put("a", "1"), lambda client: client.get("a")):
                with pytest.raises(kind) as refused:
                    act(connect([first.endpoint, second.endpoint]))
                assert type(refused.value) is kind
                assert refused.value.text == text
        assert (len(first.calls), second.calls) == (2, [])


def test_a_request_above_grpcs_own_limit_was_refused(connect, server):
    with pytest.raises(ResourceExhausted):
        connect(server.endpoint).put("a", b"x" * 3_000_000)
    assert server.writes == 0


def test_whoever_needs_a_leader_says_so(connect):
    """Then a node without one refuses at once, and what was refused at once may be sent elsewhere."""
    with scripted(FOUND) as one:
        client = connect(one.endpoint)
        client.get("a")
        client.get("a", serializable=True)
        client.put("a", "1")
    assert ["hasleader" in metadata for metadata in one.metadata] == [True, False, True]


def test_the_status_of_a_silent_or_absent_endpoint_is_an_error_among_the_others(connect, server):
    with scripted(Hang()) as silent, scripted(Answer(b"\xff")) as lies, unused_endpoint() as nobody:
        client = connect([silent.endpoint, nobody, lies.endpoint, server.endpoint], timeout=0.5)
        statuses = client.status()
    assert [status.endpoint for status in statuses] == list(client.endpoints)
    assert [type(status.error) for status in statuses] == [DeadlineExceeded, Unavailable, ServerFailed, type(None)]
    assert statuses[-1].member_id == 1


def test_no_exception_of_grpc_is_behind_ours(connect):
    """Not as cause, not as context: an error can be kept, printed and pickled without it."""
    with scripted(TIMED_OUT, Refuse(StatusCode.ABORTED, "oh"), Answer(b"\xff")) as one, unused_endpoint() as nobody:
        client, lost = connect(one.endpoint, timeout=0.2), connect(nobody, timeout=0.2)
        closed = connect(one.endpoint)
        closed.close()
        acts = [
            lambda: client.put("a", "1"),
            lambda: client.get("a"),
            lambda: client.get("a"),
            lambda: lost.get("a"),
            lambda: lost.put("a", "1"),
            lambda: closed.get("a"),
            lambda: closed.put("a", "1"),
            closed.status,
        ]
        for act in acts:
            with pytest.raises(KvError) as error:
                act()
            link: BaseException | None = error.value
            while link is not None:
                assert not isinstance(link, grpc.RpcError)
                assert not type(link).__module__.startswith(("grpc", "google"))
                link = link.__cause__ or link.__context__


def test_a_closed_client_sends_nothing(connect, server):
    client = connect(server.endpoint)
    client.put("a", "1")
    client.close()
    client.close()
    for act in (lambda: client.put("a", "2"), lambda: client.get("a"), client.status, client.members):
        with pytest.raises(ClientClosed):
            act()
    assert (server.writes, server.replica.confirmations) == (1, 0)
