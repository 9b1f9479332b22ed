"""The loops that put load on a store, run on a store that is a dictionary, and the processes that run them."""

import asyncio
import threading
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.drivers import Driver
from benchmarks.drivers.load import Load, Probe, async_load, fill, thread_load
from benchmarks.errors import BenchmarkError

LOAD = Load(kind="put", in_flight=4, seconds=0.05, warmup_s=0.02, keys=10, value_bytes=3)


class Dictionary:
    """Answers in the next turn; refuses the next so many calls, and every call after ``refuse_after``."""

    def __init__(self, *, refuse_after: int = 10**9) -> None:
        self.values: dict[int, bytes] = {}
        self.calls: Counter[str] = Counter()
        self.refuse_next = 0
        self.at_once = 0
        self.at_once_most = 0
        self._refuse_after = refuse_after

    async def put(self, key: int, value: bytes) -> None:
        await self._call("put")
        self.values[key] = value

    async def get(self, key: int) -> None:
        await self._call("get")

    async def put_many(self, first: int, count: int, value: bytes) -> None:
        await self._call("put_many")
        for key in range(first, first + count):
            assert key not in self.values, "each key once"
            self.values[key] = value

    async def close(self) -> None: ...

    async def _call(self, name: str) -> None:
        self.calls[name] += 1
        refused = self.calls.total() > self._refuse_after
        self.at_once += 1
        self.at_once_most = max(self.at_once_most, self.at_once)
        answered = asyncio.Event()
        asyncio.get_running_loop().call_soon(answered.set)  # with the next turn, as a quick server does
        await answered.wait()
        self.at_once -= 1
        if refused or self.refuse_next:
            self.refuse_next -= not refused
            raise ConnectionError("refused")


class Locked:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.calls: Counter[str] = Counter()

    def put(self, key: int, value: bytes) -> None:
        self._count("put")

    def get(self, key: int) -> None:
        self._count("get")

    def close(self) -> None: ...

    def _count(self, name: str) -> None:
        with self.lock:
            self.calls[name] += 1


def test_a_closed_loop_has_exactly_so_many_calls_in_flight() -> None:
    """Of each client; all answered calls are counted, and those between warm-up and end make the rate."""
    clients = [Dictionary(), Dictionary()]
    outcome = asyncio.run(async_load(clients, LOAD))
    assert [client.at_once_most for client in clients] == [4, 4]
    assert outcome.done == sum(client.calls["put"] for client in clients)
    assert 0 < outcome.per_second * LOAD.seconds < outcome.done
    assert 0 <= outcome.p50_ms <= outcome.p99_ms <= outcome.worst_ms
    assert outcome.errors == {}
    assert set(clients[0].values) <= set(range(LOAD.keys))
    assert set(clients[0].values.values()) == {b"vvv"}


def test_errors_are_counted_and_are_no_answers() -> None:
    client = Dictionary(refuse_after=20)
    outcome = asyncio.run(async_load([client], LOAD))
    assert outcome.done == 20
    assert outcome.errors == {"ConnectionError": client.calls["put"] - 20}
    assert outcome.error_examples == {"ConnectionError": "refused"}


def test_threads_are_callers_too() -> None:
    client = Locked()
    outcome = thread_load(client, Load(kind="get", in_flight=3, seconds=0.05, warmup_s=0.0, keys=10, value_bytes=3))
    assert client.calls == {"get": outcome.done}
    assert outcome.per_second > 0


@pytest.mark.parametrize("keys", [1, 100, 250])
def test_filling_puts_every_key_once(keys: int) -> None:
    clients = [Dictionary(), Dictionary()]
    assert asyncio.run(fill(clients, keys=keys, value_bytes=1, in_flight=5)) > 0
    assert sorted([*clients[0].values, *clients[1].values]) == list(range(keys))


def test_filling_survives_a_refusal() -> None:
    """Ten in a row it does not."""
    client = Dictionary()
    client.refuse_next = 9
    assert asyncio.run(fill([client], keys=1, value_bytes=1, in_flight=1)) > 0
    client.refuse_next = 10
    with pytest.raises(ConnectionError):
        asyncio.run(fill([client], keys=1, value_bytes=1, in_flight=1))


def test_a_probe_goes_on_where_nobody_answers() -> None:
    """An open loop: a call that hangs keeps no other from beginning."""

    async def story() -> None:
        hung, prompt = Hung(), Dictionary()
        probe = Probe([hung, prompt], every_s=0.001, value_bytes=1)
        await hung.called_thrice.wait()
        answered = await probe.stop()
        assert answered == sorted(answered)
        assert 2 <= len(answered) <= prompt.calls["put"]

    asyncio.run(story())


class Hung(Dictionary):
    def __init__(self) -> None:
        super().__init__()
        self.called_thrice = asyncio.Event()

    async def put(self, key: int, value: bytes) -> None:
        self.calls["put"] += 1
        if self.calls["put"] == 3:
            self.called_thrice.set()
        await asyncio.get_running_loop().create_future()


def test_a_load_generator_that_dies_says_what_it_wrote(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="no-such-kind"):
        Driver("no-such-kind", [], log=tmp_path / "driver.log")
