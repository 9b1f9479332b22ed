"""A leader that was paused does not know it. Whatever it answers afterwards must not be stale (L7)."""

import asyncio

import pytest
from kvclient import AsyncClient, Client, KeyValue, KvError

from kvstore.server.local_cluster import LocalCluster
from kvstore.server.processes import wait_until
from tests.e2e.clusters import WAIT_S, eventually, leader_of, unread_bytes

pytestmark = pytest.mark.e2e

READS = 32


def test_linearizable_reads_through_a_paused_leader_never_return_a_stale_value(cluster: LocalCluster) -> None:
    """Some are in flight when it stops, others come while another leads: these must see what that one did."""
    with Client(cluster.endpoints, timeout=WAIT_S) as client:
        eventually(lambda: client.put("key", "at first"))

    for _ in range(3):
        asyncio.run(pause_the_leader_under_reads(cluster, leader_of(cluster)))


async def pause_the_leader_under_reads(cluster: LocalCluster, leader: int) -> None:
    others = [cluster.endpoint(i) for i in cluster.node_ids if i != leader]
    async with AsyncClient(cluster.endpoint(leader), timeout=WAIT_S) as through_it, AsyncClient(others) as around_it:
        stopping = asyncio.Event()
        reading = [asyncio.create_task(read_on(through_it, until=stopping)) for _ in range(READS)]
        await asyncio.to_thread(cluster.pause, leader)
        stopping.set()  # the last reads are on their way

        acknowledged = await put_somehow(around_it)
        late = [asyncio.create_task(through_it.get("key")) for _ in range(READS)]
        await asyncio.to_thread(wait_until, lambda: unread_bytes(cluster.endpoint(leader)) > 0, timeout_s=WAIT_S)
        await asyncio.to_thread(cluster.resume, leader)

        early = [found for seen in await asyncio.gather(*reading) for found in seen]
        assert len(early) >= READS, "reads were under way when it stopped"
        for found in await asyncio.gather(*late, return_exceptions=True):
            assert isinstance(found, KvError) or fresh(found, acknowledged), f"stale: {found}"
        assert fresh(await through_it.get("key"), acknowledged)


def fresh(found: KeyValue | BaseException | None, acknowledged: int) -> bool:
    return isinstance(found, KeyValue) and found.mod_revision >= acknowledged


async def read_on(client: AsyncClient, *, until: asyncio.Event) -> list[KeyValue]:
    """What reads one after another return; the last of them began before ``until``."""
    seen: list[KeyValue] = []
    while not until.is_set():
        found = await client.get("key")
        assert found is not None
        seen.append(found)
    return seen


async def put_somehow(client: AsyncClient) -> int:
    """The revision of the first put that is acknowledged; others may have been done."""
    while True:
        try:
            return (await client.put("key", "meanwhile", timeout=1.0)).revision
        except KvError:
            continue
