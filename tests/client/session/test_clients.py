"""Both clients over real streams, with servers that answer out of order, break, lead elsewhere, forget and keep silent.

The blocking client and the asyncio client tell each story.
"""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from kvclient import (
    AsyncClient,
    Client,
    ClientClosed,
    Compare,
    DeadlineExceeded,
    Get,
    InvalidArgument,
    KvError,
    NoLeader,
    Put,
    PutResult,
    SessionExpired,
    Unavailable,
    UnknownOutcome,
)
from kvproto.session_pb2 import ServerBatch

from tests.client.servers import WAIT_S, served, unused_endpoint
from tests.client.session.stream_servers import Reset, Store, serve, silence, stream_server, wait_for
from tests.waiting import underway


def leader_at(endpoint: str) -> ServerBatch:
    batch = ServerBatch()
    batch.leader.node_id = 2
    batch.leader.client_urls.append(f"http://{endpoint}")
    return batch


def leader_here() -> ServerBatch:
    batch = ServerBatch()
    batch.leader.node_id = 2
    batch.leader.is_this_node = True
    return batch


def refusing(code: int, text: str):
    """Each write of the batch is refused, without being done."""

    def act(server, batch):
        answers = ServerBatch()
        for entry in batch.entries:
            refusal = answers.writes.add(sequence=entry.sequence).refusal
            refusal.code, refusal.text = code, text
        for read in batch.reads:
            refusal = answers.reads.add(number=read.number).refusal
            refusal.code, refusal.text = code, text
        return answers

    return act


def do_and_break(server, batch):
    """Everything is done, and no answer gets out."""
    server.store.answer(batch)
    return Reset()


def break_before(server, batch):
    return Reset()


def test_everything_goes_through_the_stream(connect):
    with stream_server() as server:
        client = connect(server.endpoint, timeout=WAIT_S)
        assert client.put("a", "1") == PutResult(2)
        assert client.get("a").value == b"1"
        assert client.get("b") is None
        assert client.compare_and_swap("a", "1", "2") is True
        assert client.compare_and_swap("a", "1", "3") is False
        assert client.txn().when(Compare.value("a") == "2").then(Put("b", "1")).commit().succeeded
        assert client.txn().then(Get("a")).commit().succeeded
        assert [kv.key for kv in client.get_prefix("")] == [b"a", b"b"]
        assert client.range("a", "b", revision=3, limit=5, descending=True).count == 1
        assert client.delete("a").deleted == 1
        assert (server.opens, server.streams) == ([0], 1)
        assert server.writes == [(1, sequence) for sequence in range(1, 6)]


def test_calls_of_one_turn_share_a_batch(loop):
    async def story(server) -> None:
        async with AsyncClient(server.endpoint) as client:
            await client.put("first", "")
            results = await asyncio.gather(*(client.put(f"{number:03}", "") for number in range(100)))
            assert sorted(result.revision for result in results) == list(range(3, 103))
            gets = await asyncio.gather(*(client.get(f"{number:03}") for number in range(100)))
            assert [found.key for found in gets] == [b"%03d" % number for number in range(100)]

    with stream_server() as server:
        loop.run(story(server))
        assert [len(batch.entries) + len(batch.reads) for batch in server.batches] == [1, 100, 100]


def test_threads_share_batches_and_each_gets_its_own_answer(closing):
    with stream_server() as server:
        client = Client(server.endpoint, timeout=WAIT_S)
        gate = threading.Barrier(32)

        def work(thread: int) -> None:
            gate.wait(WAIT_S)
            for number in range(20):
                client.put(f"{thread}/{number}", str(number))
                assert client.get(f"{thread}/{number}").value == b"%d" % number

        with ThreadPoolExecutor(32) as pool:
            list(pool.map(work, range(32)))
        assert server.store.applied == 640
        assert len(server.batches) < 1280, "at least some calls met"
        assert len(server.opens) == 1
        closing(client)


@pytest.mark.parametrize("fate", [do_and_break, break_before])
def test_a_lost_stream_costs_nothing(connect, fate):
    """Done or not, the write is sent again in the same session, and done once."""
    store = Store()
    with stream_server(store, fate) as first, stream_server(store) as second:
        client = connect([first.endpoint, second.endpoint], timeout=WAIT_S)
        assert client.put("a", "1") == PutResult(2)
        assert client.get("a").value == b"1"
        assert (store.applied, first.opens, second.opens) == (1, [0], [1])
        assert first.writes == second.writes == [(1, 1)]


def test_a_stream_that_breaks_again_and_again_in_the_middle_of_load(loop):
    store = Store()

    def flaky(server, batch):
        fates = (serve, do_and_break, serve, break_before, serve)
        return fates[len(server.batches) % 5](server, batch)

    async def story(*servers) -> None:
        async with AsyncClient([server.endpoint for server in servers], timeout=WAIT_S) as client:

            async def work(worker: int) -> None:
                for number in range(20):
                    await client.put(f"{worker}/{number}", "")

            await asyncio.gather(*map(work, range(20)))

    with stream_server(store, flaky, for_ever=True) as one, stream_server(store, flaky, for_ever=True) as other:
        loop.run(story(one, other))
        assert (store.applied, len(store.values)) == (400, 400)
        assert len(one.writes) + len(other.writes) > 400, "some were sent twice"
        assert len(one.opens) + len(other.opens) > 2


def test_a_server_that_goes_while_nothing_is_asked_is_no_news(connect):
    store = Store()
    with stream_server(store) as first, stream_server(store) as second:
        client = connect([first.endpoint, second.endpoint], timeout=WAIT_S)
        client.put("a", "1")
        first.stop()
        client.put("a", "2")
        assert (store.applied, second.opens, second.writes) == (2, [1], [(1, 2)])


def test_the_client_goes_to_the_leader(connect):
    store, here = Store(), leader_here()
    with (
        stream_server(store, first=here) as leader,
        stream_server(store, first=leader_at(leader.endpoint)) as follower,
    ):
        client = connect(follower.endpoint, timeout=WAIT_S)
        client.put("a", "1")
        wait_for(leader, lambda: leader.streams == 1)
        wait_for(follower, lambda: follower.streams == 0)
        client.put("a", "2")
        assert leader.opens == [1], "with its session"
        assert leader.writes[-1] == (1, 2)
        assert store.applied == 2


def test_the_client_follows_a_leader_that_changes(connect):
    store = Store()
    with stream_server(store, first=leader_here()) as one, stream_server(store, first=leader_here()) as other:
        client = connect(one.endpoint, timeout=WAIT_S)
        client.put("a", "1")
        one.push(leader_at(other.endpoint))
        wait_for(one, lambda: one.streams == 0)
        client.put("a", "2")
        assert (one.writes, other.writes) == ([(1, 1)], [(1, 2)])


def test_a_leader_that_cannot_be_reached_is_left_alone(connect):
    """The client stays where it is served, and does not try again with every hint."""
    with unused_endpoint() as nobody, stream_server(first=leader_at(nobody)) as follower:
        client = connect(follower.endpoint, timeout=WAIT_S)
        for _ in range(5):
            client.put("a", "1")
            follower.push(leader_at(nobody))
        assert (follower.opens, follower.store.applied) == ([0], 5)


def test_an_address_that_leads_to_somebody_else_is_left_alone(connect):
    store = Store()
    with stream_server(store) as other, stream_server(store, first=leader_at(other.endpoint)) as follower:
        client = connect(follower.endpoint, timeout=WAIT_S)
        client.put("a", "1")
        wait_for(other, lambda: bool(other.opens))
        wait_for(other, lambda: other.streams == 0)
        for _ in range(3):
            client.put("a", "1")
            follower.push(leader_at(other.endpoint))
        assert (len(other.opens), other.writes, follower.streams) == (1, [], 1)


def test_refusals_are_errors(connect):
    with stream_server(None, refusing(3, "etcdserver: key is not provided")) as server:
        client = connect(server.endpoint, timeout=WAIT_S)
        with pytest.raises(InvalidArgument) as refused:
            client.put("", "1")
        assert (refused.value.text, refused.value.endpoint) == ("etcdserver: key is not provided", server.endpoint)
        assert server.store.applied == 0


def test_without_a_leader_the_call_is_sent_again_until_there_is_one(connect):
    no_leader = refusing(14, "etcdserver: no leader")
    with stream_server(None, no_leader, no_leader, no_leader) as server:
        client = connect(server.endpoint, timeout=WAIT_S)
        client.put("a", "1")
        assert server.writes == [(1, 1)] * 4
    with stream_server(None, no_leader, for_ever=True) as server:
        client = connect(server.endpoint, timeout=0.3)
        for act in (lambda: client.put("a", "1"), lambda: client.get("a")):
            with pytest.raises(NoLeader):
                act()


def test_a_node_that_refuses_for_too_long_is_left_for_another(connect):
    store, no_leader = Store(), refusing(14, "etcdserver: no leader")
    with stream_server(store, no_leader, for_ever=True) as cut_off, stream_server(store) as good:
        client = connect([cut_off.endpoint, good.endpoint], timeout=WAIT_S)
        client.put("a", "1")
        assert (good.writes, store.applied) == ([(1, 1)], 1)


def test_a_node_that_cannot_open_a_session_is_left_for_another(connect):
    store = Store()
    for first in (Reset(text="etcdserver: no leader"), Reset(grpc.StatusCode.INTERNAL, "oh"), None):
        with stream_server(store, first=first) as bad, stream_server(store) as good:
            client = connect([bad.endpoint, good.endpoint], timeout=WAIT_S)
            client.put("a", "1")
            assert (len(bad.opens), bad.writes) == (1, [])


def test_where_no_session_can_be_opened_nothing_was_done(connect):
    with stream_server(first=Reset(text="etcdserver: no leader")) as server, pytest.raises(NoLeader):
        connect(server.endpoint, timeout=0.3).put("a", "1")
    with unused_endpoint() as nobody:
        for act in (lambda client: client.put("a", "1"), lambda client: client.get("a")):
            with pytest.raises(Unavailable) as unavailable:
                act(connect(nobody, timeout=0.3))
            assert "Connection refused" in unavailable.value.text


def test_an_expired_session_is_renewed(connect):
    with stream_server() as server:
        client = connect(server.endpoint, timeout=WAIT_S)
        client.put("a", "1")
        server.store.sessions.clear()
        client.put("a", "2")
        assert server.store.values == {b"a": b"2"}
        assert (server.opens, server.writes) == ([0, 0], [(1, 1), (1, 2), (2, 1)])


def test_a_write_that_was_sent_twice_is_lost_with_its_session(connect):
    store = Store()

    def do_forget_and_break(server, batch):
        store.answer(batch)
        store.sessions.clear()
        return Reset()

    with stream_server(store, do_forget_and_break) as server:
        client = connect(server.endpoint, timeout=WAIT_S)
        with pytest.raises(SessionExpired):
            client.put("a", "1")
        client.put("a", "2")
        assert (store.applied, server.opens) == (2, [0, 1, 0])


def test_deadlines_hold(connect):
    with stream_server(None, silence, for_ever=True) as server:
        client = connect(server.endpoint)
        for act, kind in ((client.get, DeadlineExceeded), (client.delete, UnknownOutcome)):
            began = time.monotonic()
            with pytest.raises(kind):
                act("a", timeout=0.3)
            assert 0.29 <= time.monotonic() - began < 10
        with pytest.raises(UnknownOutcome):
            client.put("a", "1", timeout=0.1)
        assert len(server.batches) == 3


def test_a_server_that_keeps_silent_is_left_in_time(connect):
    """Nothing is lost by asking another: the write is done once, wherever."""
    store = Store()
    with stream_server(store, silence, for_ever=True) as silent, stream_server(store) as talks:
        client = connect([silent.endpoint, talks.endpoint], timeout=2.0)
        assert client.put("a", "1") == PutResult(2)
        assert client.get("a").value == b"1"
        assert (silent.writes, talks.writes) == ([(1, 1)], [(1, 1)])


def test_the_window_is_kept(loop):
    """Of a hundred calls begun at once no more are before the server than it allows."""

    async def story(server) -> None:
        async with AsyncClient(server.endpoint, timeout=WAIT_S) as client:
            await asyncio.gather(*(client.put(f"{number}", "") for number in range(100)))

    with stream_server(requests_max=8) as server:
        loop.run(story(server))
        assert max(len(batch.entries) for batch in server.batches) == 8
        for batch in server.batches:
            assert batch.entries[-1].sequence < batch.unanswered_from + 8
        assert server.store.applied == 100


def test_a_cancelled_call_ends_alone(loop):
    """One that waits is never sent; one that was sent counts as answered; the others go on."""

    async def story(server) -> None:
        async with AsyncClient(server.endpoint, timeout=WAIT_S) as client:
            sent = asyncio.create_task(client.put("sent", ""))
            while not server.batches:
                server.changed.clear()
                await server.changed.wait()
            waits = await underway(client.put("waits", ""))
            other = await underway(client.put("other", ""))
            sent.cancel()
            waits.cancel()
            server.pushes.put_nowait(ServerBatch(put_sequences=[1], put_revisions=[2]))  # makes room
            await other
            with pytest.raises(asyncio.CancelledError):
                await sent
            with pytest.raises(asyncio.CancelledError):
                await waits
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await client.get("a")
            await client.put("last", "")

    with stream_server(None, silence, requests_max=1) as server:
        loop.run(story(server))
        assert sorted(server.store.values) == [b"last", b"other"]
        writes = [batch for batch in server.batches if batch.entries]
        assert [batch.unanswered_from for batch in writes] == [1, 2, 3]


def test_closing_ends_the_calls_of_other_threads():
    with stream_server(None, silence, for_ever=True) as server, ThreadPoolExecutor() as pool:
        client = Client(server.endpoint, timeout=WAIT_S * 10)
        get, put = pool.submit(client.get, "a"), pool.submit(client.put, "a", "1")
        wait_for(server, lambda: sum(len(batch.reads) + len(batch.entries) for batch in server.batches) == 2)
        began = time.monotonic()
        client.close()
        assert time.monotonic() - began < 5
        assert type(get.exception(WAIT_S)) is ClientClosed
        assert type(put.exception(WAIT_S)) is UnknownOutcome
        wait_for(server, lambda: server.streams == 0)
        for act in (lambda: client.get("a"), lambda: client.put("a", "1"), client.status):
            with pytest.raises(ClientClosed):
                act()


def test_closing_the_asyncio_client_ends_its_calls(loop):
    async def story(server) -> None:
        client = AsyncClient(server.endpoint, timeout=WAIT_S * 10)
        get, put = asyncio.create_task(client.get("a")), asyncio.create_task(client.put("a", "1"))
        while not server.batches:
            server.changed.clear()
            await server.changed.wait()
        waits = await underway(client.get("b"))
        await client.close()
        outcomes = await asyncio.gather(get, put, waits, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ClientClosed, UnknownOutcome, ClientClosed]
        with pytest.raises(ClientClosed):
            await client.put("a", "1")
        await client.close()

    with stream_server(None, silence, for_ever=True) as server:
        loop.run(story(server))
        wait_for(server, lambda: server.streams == 0)


def test_a_server_without_sessions_is_spoken_to_as_etcd_is(connect):
    """After the first call nobody asks for a session any more, and calls travel alone."""
    with served() as server:
        client = connect(server.endpoint, timeout=WAIT_S)
        assert client.put("a", "1") == PutResult(2)
        assert client.compare_and_swap("a", "1", "2")
        assert client.get("a").value == b"2"
        assert client.get_prefix("").count == 1
        assert client.delete("a").deleted == 1


def test_a_server_without_sessions_among_others_is_passed_over(connect):
    """Once there is a session, it is not given up."""
    store = Store()
    with stream_server(store, do_and_break) as first, served() as old, stream_server(store) as last:
        client = connect([first.endpoint, old.endpoint, last.endpoint], timeout=WAIT_S)
        client.put("a", "1")
        assert (store.applied, old.writes, last.opens) == (1, 0, [1])


def test_a_request_too_large_for_a_stream_travels_alone(connect):
    """It cannot break the stream of others; here, nobody takes it."""
    with stream_server() as server:
        client = connect(server.endpoint, timeout=WAIT_S)
        with pytest.raises(KvError):
            client.put("a", b"x" * 2_000_000)
        client.put("b", b"x" * 1_500_000)
        assert server.writes == [(1, 1)]


def test_no_exception_of_grpc_is_behind_ours(connect):
    with stream_server(None, break_before, for_ever=True) as breaks, unused_endpoint() as nobody:
        acts = []
        for endpoint in (breaks.endpoint, nobody):
            client = connect(endpoint, timeout=0.2)
            acts += [lambda client=client: client.put("a", "1"), lambda client=client: client.get("a")]
        for act in acts:
            with pytest.raises(KvError) as error:
                act()
            link: BaseException | None = error.value
            while link is not None:
                assert not isinstance(link, grpc.RpcError)
                assert not type(link).__module__.startswith(("grpc", "google"))
                link = link.__cause__ or link.__context__
