"""Threads that share a client, tasks that share one, cancellation, closing in the middle of calls, and processes."""

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from kvclient import AsyncClient, Client, ClientClosed, KvError, UnknownOutcome

from tests.client.servers import WAIT_S, Hang, scripted, unused_endpoint
from tests.client.session.stream_servers import silence, stream_server
from tests.waiting import until


def test_threads_share_a_client(server, closing):
    """Every put is done once, and every thread reads what it wrote; connections are made only once."""
    client = Client(server.endpoint, timeout=WAIT_S)
    gate = threading.Barrier(16)

    def work(thread: int) -> None:
        gate.wait(WAIT_S)
        for number in range(10):
            client.put(f"{thread}/{number}", str(number))
            assert client.get(f"{thread}/{number}").value == b"%d" % number

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert (server.writes, client.get_prefix("", count_only=True).count) == (160, 160)
    assert len(client._core._channels) == 1
    closing(client)


def test_threads_count_by_compare_and_swap(server, closing):
    """Of those that swap the same value, one succeeds: no increment is lost, none is done twice."""
    client = Client(server.endpoint, timeout=WAIT_S)
    client.put("n", "0")

    def increment(_: int) -> None:
        while True:
            value = client.get("n").value
            if client.compare_and_swap("n", value, str(int(value) + 1)):
                return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(increment, range(20)))
    assert client.get("n").value == b"20"
    closing(client)


def test_closing_ends_the_calls_of_other_threads(server):
    """A read says that the client was closed; the fate of a write is unknown; neither hangs until its deadline."""
    server.hold_back()
    client = Client(server.endpoint, timeout=WAIT_S * 10)
    with ThreadPoolExecutor() as pool:
        acts = (lambda: client.get("a"), lambda: client.put("a", "1"), client.members)
        get, put, members = (pool.submit(act) for act in acts)
        while server.replica.waiting < 3:
            server.wait_for_someone()
        client.close()
        assert type(get.exception(WAIT_S)) is ClientClosed
        assert type(put.exception(WAIT_S)) is UnknownOutcome
        assert type(members.exception(WAIT_S)) is ClientClosed


def test_closing_ends_a_status_that_is_being_asked_for():
    with scripted(Hang()) as silent, ThreadPoolExecutor() as pool:
        client = Client(silent.endpoint, timeout=WAIT_S * 10)
        asked = pool.submit(client.status)
        assert silent.arrived.wait(WAIT_S)
        client.close()
        (status,) = asked.result(WAIT_S)
        assert type(status.error) is ClientClosed


def test_closing_while_threads_begin_calls_lets_only_our_errors_out(server):
    """Wherever the closing falls: before, during or after the making of a call."""
    for _ in range(10):
        client = Client(server.endpoint, pipelined=False)
        gate = threading.Barrier(5)

        def work(client=client, gate=gate) -> str:
            gate.wait(WAIT_S)
            try:
                while True:
                    client.status()
                    client.get("a")
            except KvError as error:
                return type(error).__name__

        with ThreadPoolExecutor(4) as pool:
            outcomes = [pool.submit(work) for _ in range(4)]
            gate.wait(WAIT_S)
            client.close()
            assert {outcome.result(WAIT_S) for outcome in outcomes} == {"ClientClosed"}


def test_a_connection_closed_between_its_choice_and_its_use_is_a_closed_client(server, loop):
    """The narrowest place for another thread's, or task's, ``close`` to fall."""
    client = Client(server.endpoint, pipelined=False)
    client.get("a")
    client._background.run(client._core._channels[server.endpoint].close())
    for act in (lambda: client.get("a"), lambda: client.put("a", "1"), client.status):
        with pytest.raises(ClientClosed):
            act()
    client.close()

    async def story() -> None:
        client = AsyncClient(server.endpoint)
        await client.get("a")
        await client._core._channels[server.endpoint].close()
        for act in (client.get("a"), client.put("a", "1"), client.status()):
            with pytest.raises(ClientClosed):
                await act

    loop.run(story())
    assert server.writes == 0


def test_tasks_share_a_client(server, loop):
    async def story() -> None:
        async with AsyncClient(server.endpoint, timeout=WAIT_S) as client:
            await asyncio.gather(*(client.put(f"{number:03}", str(number)) for number in range(200)))
            assert len((await client.get_prefix("")).kvs) == 200
            assert len(client._core._channels) == 1

    loop.run(story())
    assert server.writes == 200


def test_a_cancelled_task_is_cancelled_and_the_client_goes_on(server, loop):
    """The server learns of it: a read that nobody waits for is not waited for there either."""

    async def story() -> None:
        async with AsyncClient(server.endpoint, timeout=WAIT_S * 10) as client:
            for act in (client.get("a"), client.put("a", "1")):
                task = asyncio.create_task(act)
                await server.replica.someone_waits.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert task.cancelled()
                await server.replica.nobody_waits.wait()
            server.replica.go.set()
            assert (await client.put("b", "2")).revision > 1

    server.hold_back()
    loop.run(story())


def test_a_task_is_cancelled_during_a_pause_too(loop):
    async def story() -> None:
        with unused_endpoint() as nobody:
            async with AsyncClient(nobody, timeout=WAIT_S * 10) as client:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await client.get("a")

    loop.run(story())


def test_closing_the_asyncio_client_ends_its_calls(server, loop):
    """Their tasks are not cancelled: nobody cancelled them."""

    async def story() -> None:
        client = AsyncClient(server.endpoint, timeout=WAIT_S * 10)
        get, put, status = map(asyncio.create_task, (client.get("a"), client.put("a", "1"), client.status()))
        await status
        await until(lambda: server.replica.waiting == 2)
        await client.close()
        outcomes = await asyncio.gather(get, put, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [ClientClosed, UnknownOutcome]

    server.hold_back()
    loop.run(story())


def test_a_cancelled_task_stays_cancelled_when_the_client_closes_as_well(server, loop):
    async def story() -> None:
        client = AsyncClient(server.endpoint, timeout=WAIT_S * 10)
        task = asyncio.create_task(client.get("a"))
        await server.replica.someone_waits.wait()
        task.cancel()
        await client.close()
        with pytest.raises(asyncio.CancelledError):
            await task

    server.hold_back()
    loop.run(story())


def python(program: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_server_client_and_aetcd_live_in_one_process():
    """protobuf has one pool of names for a process; aetcd brings etcd's own names into it."""
    for order in ("kvstore, kvclient, aetcd", "aetcd, kvclient, kvstore"):
        program = f"""
import {order}
import kvproto.etcd.rpc_pb2, kvproto.paxos_pb2
import kvstore.api, kvstore.server.grpc_front
from aetcd.rpc import PutRequest
theirs, ours = PutRequest(key=b"a", value=b"1"), kvproto.etcd.rpc_pb2.PutRequest(key=b"a", value=b"1")
assert theirs.SerializeToString() == ours.SerializeToString()
assert type(theirs) is not type(ours)
"""
        done = python(program)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_client_brings_no_server_with_it():
    done = python("import sys, kvclient, kvclient.cli; assert not [m for m in sys.modules if m.startswith('kvstore')]")
    assert (done.returncode, done.stderr) == (0, "")


FORKING = """
import multiprocessing, sys, kvclient

def child(endpoint):
    try:
        with kvclient.Client(endpoint) as client:
            print(client.put("a", "child").revision, flush=True)
    except RuntimeError as error:
        print(error, flush=True)

def use_inherited(client):
    for act in (lambda: client.put("a", "child"), lambda: client.get_prefix(""), client.close):
        try:
            act()
            print("no error", flush=True)
        except RuntimeError as error:
            print("RuntimeError", flush=True)

def run(target, *arguments, method):
    process = multiprocessing.get_context(method).Process(target=target, args=arguments)
    process.start()
    process.join()

if __name__ == "__main__":
    endpoint = sys.argv[1]
    run(child, endpoint, method="fork")
    with kvclient.Client(endpoint) as client:
        print(client.put("a", "parent").revision, flush=True)
        run(child, endpoint, method="fork")
        run(use_inherited, client, method="fork")
        print(client.put("a", "parent").revision, flush=True)
"""


def test_a_fork_has_a_client_of_its_own_or_an_error(server):
    """Forked before there was a client, a child may have one; afterwards it is told, instead of hanging."""
    done = python(FORKING, server.endpoint)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[:2]) == (0, ["2", "3"])
    assert "forked" in lines[2]
    assert lines[3:] == ["RuntimeError"] * 3 + ["4"]


INTERRUPTED = """
import signal, sys, kvclient, threading
with kvclient.Client(sys.argv[1], timeout=100) as client:
    interrupt = lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    threading.Timer(0.5, interrupt).start()
    try:
        CALL
    except KeyboardInterrupt:
        print(len(client.status()))
"""


@pytest.mark.parametrize("call", ["client.put('a', '1')", "client.get('a')", "client.get_prefix('')"])
def test_an_interrupted_call_ends_and_the_client_goes_on(server, call):
    """Ctrl-C in the main thread, with the call under way, alone or on a stream."""
    server.hold_back()
    with stream_server(None, silence, for_ever=True) as silent:
        for endpoint in (server.endpoint, silent.endpoint):
            done = python(INTERRUPTED.replace("CALL", call), endpoint)
            assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


FORGETFUL = {
    "sync": "client = kvclient.Client(sys.argv[1]); print(client.put('a', '1').revision)",
    "sync, dropped": "print(kvclient.Client(sys.argv[1]).put('a', '1').revision)",
    "async": """
async def story():
    global client
    client = kvclient.AsyncClient(sys.argv[1])
    print((await client.put('a', '1')).revision)
asyncio.run(story())
""",
}


@pytest.mark.parametrize("program", FORGETFUL)
def test_a_program_that_forgets_to_close_still_ends(server, program):
    done = python("import asyncio, sys, kvclient\n" + FORGETFUL[program], server.endpoint)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def test_a_client_that_is_dropped_is_closed(server):
    before = set(threading.enumerate())
    client = Client(server.endpoint)
    client.put("a", "1")
    its_threads = set(threading.enumerate()) - before
    assert its_threads
    del client
    for thread in its_threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
