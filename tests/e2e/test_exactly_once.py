"""Retries are applied once: a counter that many clients raise ends where their acknowledgements say."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count, takewhile

import pytest
from kvclient import Client, Put

from kvstore.server.local_cluster import LocalCluster
from kvstore.server.processes import wait_until
from tests.e2e.clusters import WAIT_S, clients_of, leader_of

pytestmark = pytest.mark.e2e

CLIENTS = 16
KILLS = 20
BETWEEN_KILLS = 10
"""So many more increments by every client before the next leader dies."""


def test_sixteen_clients_count_exactly_while_twenty_leaders_die(cluster: LocalCluster) -> None:
    """Nothing is compared, so a copy that was applied again would count. The counter is the key's own version."""
    stopping = threading.Event()
    counted = [0] * CLIENTS

    def increment(number: int) -> list[int]:
        revisions = []
        with Client(cluster.endpoints, timeout=WAIT_S) as client:
            for turn in takewhile(lambda _: not stopping.is_set(), count(1)):
                result = client.txn().then(Put("counter", f"{number}.{turn}"), Put(f"of/{number}", str(turn))).commit()
                revisions.append(result.revision)
                counted[number] = turn
        return revisions

    with ThreadPoolExecutor(CLIENTS) as pool:
        working = [pool.submit(increment, number) for number in range(CLIENTS)]
        try:
            for _ in range(KILLS):
                assert wait_until(all_count_on(counted), timeout_s=WAIT_S), f"some clients wait: {counted}"
                leader = leader_of(cluster)
                cluster.kill(leader)
                cluster.restart(leader)
                cluster.wait_serving(timeout_s=WAIT_S)
        finally:
            stopping.set()
        revisions = [revision for future in working for revision in future.result()]

    assert len(set(revisions)) == len(revisions) == sum(counted), "each increment has a revision of its own"
    with clients_of(cluster) as through:
        for client in through.values():
            counter = client.get("counter")
            assert counter is not None
            assert counter.version == sum(counted)
            of_each = {found.key: found.version for found in client.get_prefix("of/")}
            assert of_each == {f"of/{number}".encode(): counted[number] for number in range(CLIENTS)}


def all_count_on(counted: list[int]) -> Callable[[], bool]:
    """Whether every client has counted on since this call."""
    before = list(counted)
    return lambda: all(now >= then + BETWEEN_KILLS for now, then in zip(counted, before, strict=True))
