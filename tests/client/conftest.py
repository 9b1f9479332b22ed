"""Both clients in one clothing: the asyncio client's methods block here, on a loop in a thread of its own."""

import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from kvclient import AsyncClient, Client

from tests.client.cli import KvClient
from tests.client.servers import EventLoop, Served, served, shared_loop


class Blocking:
    """An ``AsyncClient`` whose coroutines are awaited elsewhere."""

    def __init__(self, loop: EventLoop, endpoints, **options) -> None:
        self._loop = loop
        self._client = loop.call(lambda: AsyncClient(endpoints, **options))

    def __getattr__(self, name: str):
        return self._blocking(getattr(self._client, name))

    def _blocking(self, attribute):
        if not callable(attribute):
            return attribute

        def call(*arguments, **options):
            result = attribute(*arguments, **options)
            if inspect.isawaitable(result):
                return self._loop.run(result)
            return _BlockingTransaction(self._loop, result)

        return call

    def __enter__(self):
        self._loop.run(self._client.__aenter__())
        return self

    def __exit__(self, *error) -> None:
        self._loop.run(self._client.__aexit__(*error))


class _BlockingTransaction:
    def __init__(self, loop: EventLoop, transaction) -> None:
        self._loop = loop
        self._transaction = transaction

    def __getattr__(self, name: str):
        def build(*parts):
            built = getattr(self._transaction, name)(*parts)
            assert built is self._transaction, "a builder returns itself"
            return self

        return build

    def commit(self, **options):
        return self._loop.run(self._transaction.commit(**options))


@pytest.fixture(scope="package", autouse=True)
def loop() -> Iterator[EventLoop]:
    yield shared_loop()
    shared_loop().stop()
    shared_loop.cache_clear()


@pytest.fixture(scope="package")
def closing(loop) -> Iterator[Callable]:
    """Where clients are closed while the next test runs: each may take a moment."""
    closings = []
    with ThreadPoolExecutor() as pool:
        yield lambda client: closings.append(pool.submit(client.close))
    for closed in closings:
        closed.result()


@pytest.fixture(params=["sync", "async"])
def connect(request, closing) -> Iterator[Callable]:
    """``connect(endpoints, timeout=...)`` makes a client, which the test's end closes."""
    made = []
    loop = shared_loop() if request.param == "async" else None

    def make(endpoints, **options):
        made.append(Client(endpoints, **options) if loop is None else Blocking(loop, endpoints, **options))
        return made[-1]

    try:
        yield make
    finally:
        for client in made:
            closing(client)


@pytest.fixture
def server() -> Iterator[Served]:
    with served() as one:
        yield one


@pytest.fixture
def kv(monkeypatch, server) -> KvClient:
    """``kv-client`` with the server as its endpoint."""
    return KvClient(monkeypatch, KV_ENDPOINTS=server.endpoint)
