"""A leader that was paused does not know it. Whatever it answers afterwards must not be stale (L7)."""

import asyncio
import itertools

import pytest
from kvclient import AsyncClient, Client, KvError

from kvstore.server.local_cluster import LocalCluster
from tests.e2e.clusters import WAIT_S, eventually, leader_of

pytestmark = pytest.mark.e2e

READS = 32


def test_linearizable_reads_through_a_paused_leader_never_return_a_stale_value(cluster: LocalCluster) -> None:
    """Some are in flight when it stops, others come while another leads: these must see what that one did."""

    async def story(leader: int, old: bytes, new: bytes) -> None:
        others = [cluster.endpoint(i) for i in cluster.node_ids if i != leader]
        async with AsyncClient(cluster.endpoint(leader), timeout=WAIT_S) as through_it:
            # Asked without a pause, so that some are on their way when the node stops.
            stopping = asyncio.Event()
            before = [asyncio.create_task(_read_on(through_it, until=stopping)) for _ in range(READS)]
            await asyncio.to_thread(cluster.pause, leader)
            stopping.set()
            async with AsyncClient(others, timeout=WAIT_S) as around_it:
                await _put_somehow(around_it, new)
            # The new value is acknowledged: the paused node must not answer with the old one what is asked from now on.
            after = [asyncio.create_task(through_it.get("key")) for _ in range(READS)]
            await asyncio.sleep(0.1)  # the bytes are in its socket; if they were not, the test would only be weaker
            await asyncio.to_thread(cluster.resume, leader)

            early = [found for seen in await asyncio.gather(*before) for found in seen]
            assert set(early) <= {old, new}
            assert early.count(old) + early.count(new) >= READS, "reads were under way"
            late = await asyncio.gather(*after, return_exceptions=True)
            for found in late:
                assert isinstance(found, KvError) or (found is not None and found.value == new), f"stale: {found}"  # type: ignore[union-attr]
            assert (await through_it.get("key")).value == new  # type: ignore[union-attr]

    values = [f"value {number}".encode() for number in range(4)]
    with Client(cluster.endpoints, timeout=WAIT_S) as client:
        eventually(lambda: client.put("key", values[0]))
    for old, new in itertools.pairwise(values):
        asyncio.run(story(leader_of(cluster), old, new))


async def _read_on(client: AsyncClient, *, until: asyncio.Event) -> list[bytes]:
    """The values that reads one after another return; the last began before ``until``."""
    seen: list[bytes] = []
    while not until.is_set():
        found = await client.get("key")
        assert found is not None
        seen.append(found.value)
    return seen


async def _put_somehow(client: AsyncClient, value: bytes) -> None:
    while True:
        try:
            await client.put("key", value)
        except KvError:
            continue
        return
