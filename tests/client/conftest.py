"""Both clients in one clothing: the asyncio client's methods block here, on a loop in a thread of its own."""

import inspect
from collections.abc import Callable, Iterator

import pytest
from kvclient import AsyncClient, Client

from tests.client.servers import EventLoop, Served, served


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


@pytest.fixture(params=["sync", "async"])
def connect(request) -> Iterator[Callable]:
    """``connect(endpoints, timeout=...)`` makes a client, which the test's end closes."""
    made = []
    loop = EventLoop() if request.param == "async" else None

    def make(endpoints, **options):
        made.append(Client(endpoints, **options) if loop is None else Blocking(loop, endpoints, **options))
        return made[-1]

    try:
        yield make
    finally:
        for client in made:
            client.close()
        if loop is not None:
            loop.stop()


@pytest.fixture
def server() -> Iterator[Served]:
    with served() as one:
        yield one
