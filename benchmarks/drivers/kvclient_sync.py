"""Our blocking client, one for all threads."""

from collections.abc import Sequence

from kvclient import Client

from benchmarks.drivers.load import key_name

__all__ = ["KvBlocking", "connect"]


class KvBlocking:
    def __init__(self, endpoints: Sequence[str]) -> None:
        self._client = Client(endpoints)

    def put(self, key: int, value: bytes) -> None:
        self._client.put(key_name(key), value)

    def get(self, key: int) -> None:
        self._client.get(key_name(key))

    def close(self) -> None:
        self._client.close()


def connect(endpoints: Sequence[str]) -> KvBlocking:
    return KvBlocking(endpoints)
