"""A load generator's process: ``python -m benchmarks.drivers KIND ENDPOINT...``, then questions on standard input.

Each library is imported only by the process that is to use it: two of them bring the same protobuf modules.
"""

import asyncio
import gc
import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from benchmarks.drivers.load import Blocking, Connection, Load, Probe, async_load, fill, thread_load

KINDS: Final = {
    "kvclient": "benchmarks.drivers.kvclient_async",
    "aetcd": "benchmarks.drivers.aetcd_async",
    "kazoo": "benchmarks.drivers.kazoo_async",
    "pysyncobj": "benchmarks.drivers.pysyncobj_async",
}
KINDS_BLOCKING: Final = {
    "kvclient-sync": "benchmarks.drivers.kvclient_sync",
    "etcd3": "benchmarks.drivers.etcd3_sync",
}
_FILL_CLIENTS: Final = 2
_FILL_IN_FLIGHT: Final = 16


class AsyncDriver:
    """``module.connect(endpoints)`` makes one client; as many are made as a load wants, and kept."""

    def __init__(self, module: Any, endpoints: Sequence[str]) -> None:
        self._module = module
        self._endpoints = endpoints
        self._connections: list[Connection] = []
        self._probe: Probe | None = None

    async def do(self, question: dict[str, Any]) -> dict[str, Any]:
        match question["do"]:
            case "load":
                load = Load(**question["load"])
                return asdict(await async_load(await self._connected(load.clients), load))
            case "fill":
                per_second = await fill(
                    await self._connected(_FILL_CLIENTS),
                    keys=question["keys"],
                    value_bytes=question["value_bytes"],
                    in_flight=_FILL_IN_FLIGHT,
                )
                return {"per_second": per_second}
            case "begin-probe":
                connections = await self._connected(getattr(self._module, "PROBE_CLIENTS", 1))
                self._probe = Probe(connections, every_s=question["every_s"], value_bytes=question["value_bytes"])
                return {}
            case "end-probe":
                assert self._probe is not None, "end-probe follows begin-probe"
                answered = await self._probe.stop()
                return {"answered": answered}
            case other:
                raise ValueError(f"what is {other}?")

    async def _connected(self, count: int) -> list[Connection]:
        count = min(count, getattr(self._module, "CLIENTS_MAX", count))
        while len(self._connections) < count:
            self._connections.append(await self._module.connect(self._endpoints, len(self._connections)))
        return self._connections[:count]

    async def close(self) -> None:
        await asyncio.gather(*(connection.close() for connection in self._connections))


class BlockingDriver:
    """One client for all threads."""

    def __init__(self, module: Any, endpoints: Sequence[str]) -> None:
        self._client: Blocking = module.connect(endpoints)

    async def do(self, question: dict[str, Any]) -> dict[str, Any]:
        assert question["do"] == "load", question
        return asdict(await asyncio.to_thread(thread_load, self._client, Load(**question["load"])))

    async def close(self) -> None:
        await asyncio.to_thread(self._client.close)


async def main(kind: str, endpoints: Sequence[str]) -> None:
    driver: AsyncDriver | BlockingDriver
    if kind in KINDS:
        driver = AsyncDriver(importlib.import_module(KINDS[kind]), endpoints)
    else:
        driver = BlockingDriver(importlib.import_module(KINDS_BLOCKING[kind]), endpoints)
    gc.freeze()
    try:
        print("{}", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await driver.do(json.loads(line))), flush=True)
    finally:
        await driver.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
