"""Three real nodes on this machine: write, read, lose the leader, go on. `make demo` runs this.

Every step says what it does and how long it took; an answer that is not the expected one ends it with exit code 1.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kvclient import Client, KvError

from kvstore.server.local_cluster import LocalCluster
from kvstore.server.ports import free_base_port

RECOVERY_S = 30.0


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="kv-demo-") as scratch:
        cluster = LocalCluster(Path(scratch) / "data", nodes=3, base_port=free_base_port(nodes=3))
        try:
            with step("start three nodes, each with its own log on disk"):
                cluster.start()
                cluster.wait_serving()
            for node_id in cluster.node_ids:
                print(f"          node {node_id}: clients at {cluster.endpoint(node_id)}")
            run(cluster)
            with step("stop the nodes"):
                cluster.stop()
        finally:
            cluster.stop()
    print("done: nothing that was acknowledged was lost")
    return 0


def run(cluster: LocalCluster) -> None:
    writer, *readers = cluster.node_ids
    with step(f"put greeting = hello through node {writer}"), Client(cluster.endpoint(writer)) as client:
        client.put("greeting", "hello")
    for reader in readers:
        with step(f"get greeting through node {reader}"), Client(cluster.endpoint(reader)) as client:
            expect(client, "greeting", b"hello")

    leader = find_leader(cluster)
    with step(f"kill the leader, node {leader}, with SIGKILL"):
        cluster.kill(leader)

    living = [node_id for node_id in cluster.node_ids if node_id != leader]
    with Client([cluster.endpoint(node_id) for node_id in living]) as client:
        with step("put greeting = still here: the other two elect a leader first"):
            put_until_acknowledged(client, "greeting", "still here")
        with step("get greeting: the new value"):
            expect(client, "greeting", b"still here")
        with step("put and get 100 more keys"):
            for number in range(100):
                client.put(f"key-{number:03}", f"value-{number}")
            for number in range(100):
                expect(client, f"key-{number:03}", f"value-{number}".encode())

    with step(f"restart node {leader}: it recovers from its disk and catches up"):
        cluster.restart(leader)
        cluster.wait_serving(leader)
    with (
        step(f"get through node {leader} what was written while it was dead"),
        Client(cluster.endpoint(leader)) as client,
    ):
        expect(client, "greeting", b"still here")
        expect(client, "key-099", b"value-99")


def find_leader(cluster: LocalCluster) -> int:
    """Whom the nodes name as their leader."""
    with Client(cluster.endpoints) as client:
        return next(status.leader for status in client.status() if status.leader in cluster.node_ids)


def put_until_acknowledged(client: Client, key: str, value: str) -> None:
    """A write that got no answer in time may have been done. This one may be sent again: it puts the same value."""
    deadline = time.monotonic() + RECOVERY_S
    while True:
        try:
            client.put(key, value)
        except KvError as error:
            if time.monotonic() > deadline:
                raise
            print(f"          (not acknowledged: {error}; again)")
        else:
            return


def expect(client: Client, key: str, value: bytes) -> None:
    found = client.get(key)
    if found is None or found.value != value:
        sys.exit(f"FAILED: {key} should be {value!r} and is {found and found.value!r}")


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is done and, afterwards, how long it took."""
    began = time.perf_counter()
    yield
    print(f"{(time.perf_counter() - began) * 1000:6.0f} ms  {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
