"""The in-process cluster does to its nodes what it says, and leaves nothing behind."""

import asyncio
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from kvclient import AsyncClient, Client, KvError

from kvstore.paxos.types import NodeId
from kvstore.server.ports import is_free
from kvstore.storage import SqliteAcceptorLog
from kvstore.storage.errors import DirectoryLocked
from kvstore.testing.in_process import ClusterError, InProcessCluster, NodeFailed
from kvstore.testing.in_process import cluster as cluster_module
from tests.waiting import until_blocking

WAIT_S = 60.0


@pytest.fixture
def cluster() -> Iterator[InProcessCluster]:
    with InProcessCluster() as cluster:
        yield cluster


def client_of(cluster: InProcessCluster, *node_ids: int, timeout: float = WAIT_S) -> Client:
    """Of all nodes; or of these alone, without a session, which would take it to the leader."""
    endpoints = [cluster.endpoint(i) for i in node_ids or cluster.node_ids]
    return Client(endpoints, timeout=timeout, pipelined=not node_ids)


def eventually(act: Callable[[], object]) -> None:
    """Until it raises no KvError: only for what may be done more than once."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            act()
        except KvError:
            if time.monotonic() > deadline:
                raise
        else:
            return


def value(client: Client, key: str, *, serializable: bool = False) -> bytes | None:
    found = client.get(key, serializable=serializable)
    return found and found.value


def open_files() -> list[str]:
    """Files and sockets of this process; not the kernel's own objects, of which gRPC keeps a few for the next time."""
    found = []
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing itself
            found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return sorted(name for name in found if not name.startswith("anon_inode:"))


# Coming and going


def test_every_node_serves_what_another_one_took(cluster: InProcessCluster) -> None:
    for node_id in cluster.node_ids:
        with client_of(cluster, node_id) as client:
            client.put(f"through {node_id}", str(node_id))
    for node_id in cluster.node_ids:
        with client_of(cluster, node_id) as client:
            assert [kv.value for kv in client.get_prefix("through")] == [b"1", b"2", b"3"]
            assert {member.member_id for member in client.members()} == {1, 2, 3}
    assert cluster.endpoints == [cluster.endpoint(node_id) for node_id in cluster.node_ids]


def test_it_is_up_within_a_second() -> None:
    """The quickest of several starts: what else this machine does at the moment is not its fault."""

    def start_s() -> float:
        began = time.perf_counter()
        with InProcessCluster():
            return time.perf_counter() - began

    quickest = start_s()
    for _ in range(9):
        if quickest < 1.0:
            break
        quickest = min(quickest, start_s())
    assert quickest < 1.0


def test_it_leaves_no_thread_no_file_no_descriptor_and_no_port() -> None:
    threads, descriptors = threading.active_count(), open_files()
    with InProcessCluster() as cluster:
        addresses, scratch = cluster.endpoints, cluster.data_dir
        cluster.kill(1)
        cluster.restart(1)
        cluster.kill(2)
    assert threading.active_count() == threads
    until_blocking(lambda: open_files() == descriptors)  # gRPC closes its sockets in threads that Python does not see
    assert all(is_free(address) for address in addresses)
    assert not scratch.exists()


def test_a_start_that_fails_leaves_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "_START_ATTEMPTS", 1)
    base_port = cluster_module.free_base_port(nodes=3)
    port = base_port + 20  # the last node's
    with socket.create_server(("127.0.0.1", port)):
        monkeypatch.setattr(cluster_module, "free_base_port", lambda **_: base_port)
        cluster = InProcessCluster(tmp_path / "cluster")
        with pytest.raises(Exception, match=f"cannot listen on 127.0.0.1:{port}"):
            cluster.start()
    assert not any(thread.name == "in-process cluster" for thread in threading.enumerate())
    with pytest.raises(ClusterError, match="does not run"):
        cluster.endpoints  # noqa: B018


def test_ports_that_somebody_took_meanwhile_are_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    find = cluster_module.free_base_port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bases = [taken.getsockname()[1] - 10]
        monkeypatch.setattr(cluster_module, "free_base_port", lambda *, nodes: (bases or [find(nodes=nodes)]).pop())
        with InProcessCluster() as cluster, client_of(cluster) as client:
            assert client.put("key", "value").revision == 2
            assert bases == []


def test_a_directory_of_ones_own_keeps_the_data_from_one_start_to_the_next(tmp_path: Path) -> None:
    cluster = InProcessCluster(tmp_path / "cluster")
    with cluster, client_of(cluster) as client:
        client.put("key", "value")
    with cluster, client_of(cluster) as client:
        assert value(client, "key") == b"value"
    with pytest.raises(ClusterError, match="is not empty"):
        InProcessCluster(tmp_path / "cluster").start()
    assert (tmp_path / "cluster" / "1").is_dir()


def test_two_clusters_and_a_loop_of_the_tests_own_do_not_disturb_each_other(caplog: pytest.LogCaptureFixture) -> None:
    async def write(endpoints: list[str]) -> None:
        async with AsyncClient(endpoints, timeout=WAIT_S) as client:
            for number in range(50):
                await client.put("key", str(number))

    with InProcessCluster() as one, InProcessCluster(nodes=1) as other:
        asyncio.run(write(one.endpoints))
        asyncio.run(write(other.endpoints))
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_nodes_that_end_under_their_clients_leave_no_task_unfinished(caplog: pytest.LogCaptureFixture) -> None:
    """Streams are open when they die; asyncio has nothing to complain of."""
    with InProcessCluster() as cluster, client_of(cluster) as client:
        client.put("key", "value")
        cluster.kill(cluster.leader())
        eventually(lambda: client.put("key", "another"))
        cluster.stop()
    assert not [record for record in caplog.records if record.name == "asyncio"]


# Deaths


def test_what_was_acknowledged_survives_the_leader(cluster: InProcessCluster) -> None:
    with client_of(cluster) as client:
        client.put("key", "before")
        first = cluster.leader()
        cluster.kill(first)
        assert not cluster.is_alive(first)
        second = cluster.leader()
        assert second != first
        assert value(client, "key") == b"before"
        eventually(lambda: client.put("key", "after"))
        cluster.restart(first)
        cluster.wait_serving(first)
    with client_of(cluster, first) as client:
        assert value(client, "key") == b"after"


def test_a_dead_node_is_not_reached_and_gets_its_own_data_back(cluster: InProcessCluster) -> None:
    victim = next(i for i in cluster.node_ids if i != cluster.leader())
    with client_of(cluster, victim) as client:
        client.put("key", "value")
        cluster.kill(victim)
        assert is_free(cluster.endpoint(victim))
        with pytest.raises(KvError):
            client.get("key", timeout=0.5)
        cluster.restart(victim)
        assert value(client, "key", serializable=True) == b"value"


def test_a_killed_node_lets_go_of_its_log_and_forgets_nothing_durable(cluster: InProcessCluster) -> None:
    """The log opens as after SIGKILL: whole, the incarnation after the last one."""
    with client_of(cluster) as client:
        for number in range(20):
            client.put("key", str(number))
    directory = cluster.data_dir / "1"
    with pytest.raises(DirectoryLocked):
        SqliteAcceptorLog.open(directory, node_id=NodeId(1))
    cluster.kill(1)
    log = SqliteAcceptorLog.open(directory, node_id=NodeId(1))
    try:
        assert log.identity.incarnation == 2
        assert log.sequence > 0
    finally:
        log.close()


def test_all_nodes_die_and_come_back_with_everything(cluster: InProcessCluster) -> None:
    with client_of(cluster) as client:
        client.put("key", "value")
        for node_id in cluster.node_ids:
            cluster.kill(node_id)
        for node_id in cluster.node_ids:
            cluster.restart(node_id)
        cluster.wait_serving()
        assert value(client, "key") == b"value"


def test_a_write_that_waits_when_its_node_dies_ends_with_an_error(cluster: InProcessCluster) -> None:
    """It waits for a quorum that is not there; then there is nobody to wait for."""
    leader = cluster.leader()
    cluster.partition(leader, set(cluster.node_ids) - {leader})
    outcomes: list[KvError] = []

    def write(client: Client) -> None:
        try:
            client.put("key", "value")
        except KvError as error:
            outcomes.append(error)

    with client_of(cluster, leader, timeout=2.0) as client:
        writer = threading.Thread(target=write, args=(client,))
        writer.start()
        cluster.kill(leader)
        writer.join(WAIT_S)
    assert not writer.is_alive()
    assert len(outcomes) == 1


def test_a_session_takes_its_writes_to_the_next_leader(cluster: InProcessCluster) -> None:
    """Each is done once, whichever copy of it arrived before the leader died."""
    with client_of(cluster) as client:
        client.put("counter", "0")
        cluster.kill(cluster.leader())
        for number in range(20):
            assert client.compare_and_swap("counter", str(number), str(number + 1))
        assert value(client, "counter") == b"20"


def test_a_living_node_that_is_restarted_stops_gently_first(cluster: InProcessCluster) -> None:
    leader = cluster.leader()
    cluster.restart(leader)
    cluster.wait_serving()
    assert cluster.is_alive(leader)
    with client_of(cluster) as client:
        eventually(lambda: client.put("key", "value"))


def test_without_a_quorum_there_is_no_leader_and_with_one_there_is(cluster: InProcessCluster) -> None:
    cluster.kill(1)
    cluster.kill(2)
    with pytest.raises(ClusterError, match=r"no node leads a majority after 0\.3 s"):
        cluster.leader(timeout_s=0.3)
    cluster.restart(1)
    assert cluster.leader() in {1, 3}


# Cuts


def test_a_leader_that_is_cut_off_is_replaced_and_learns_what_it_missed(cluster: InProcessCluster) -> None:
    old = cluster.leader()
    others = set(cluster.node_ids) - {old}
    cluster.partition({old}, others)
    new = cluster.leader()
    assert new in others
    with client_of(cluster, *others) as client:
        eventually(lambda: client.put("key", "value"))
    with client_of(cluster, old) as client:
        with pytest.raises(KvError):
            client.get("key", timeout=0.5)
        assert value(client, "key", serializable=True) is None
        cluster.heal()
        assert value(client, "key") == b"value"


def test_a_minority_neither_writes_nor_reads_while_it_is_cut_off() -> None:
    with InProcessCluster(nodes=5) as cluster:
        cluster.partition({1, 2}, {3, 4, 5})
        assert cluster.leader() in {3, 4, 5}
        with client_of(cluster, 1, 2) as client:
            with pytest.raises(KvError):
                client.put("key", "minority", timeout=0.5)
            with pytest.raises(KvError):
                client.get("key", timeout=0.5)
        with client_of(cluster, 3, 4, 5) as client:
            eventually(lambda: client.put("key", "majority"))
        cluster.heal()
        with client_of(cluster, 1, 2) as client:
            assert value(client, "key") == b"majority"


def test_cut_one_way_a_follower_speaks_and_is_not_spoken_to(cluster: InProcessCluster) -> None:
    """It misses what the leader decides; the others go on with or without it."""
    leader = cluster.leader()
    deaf = next(i for i in cluster.node_ids if i != leader)
    others = set(cluster.node_ids) - {deaf}
    cluster.partition(others, deaf, one_way=True)
    with client_of(cluster, *others) as client:
        eventually(lambda: client.put("key", "value"))
    with client_of(cluster, deaf) as client:
        assert value(client, "key", serializable=True) is None
        cluster.heal()
        assert value(client, "key") == b"value"


def test_cut_from_each_other_two_followers_go_on_through_their_leader(cluster: InProcessCluster) -> None:
    one, other = sorted(set(cluster.node_ids) - {cluster.leader()})
    cluster.partition(one, other)
    for node_id in (one, other):
        with client_of(cluster, node_id) as client:
            eventually(lambda client=client, n=node_id: client.put(f"through {n}", "value"))  # type: ignore[misc]
            assert value(client, f"through {node_id}") == b"value"


def test_three_groups_are_three_islands(cluster: InProcessCluster) -> None:
    cluster.partition(1, 2, 3)
    with pytest.raises(ClusterError, match="no node leads a majority"):
        cluster.leader(timeout_s=0.3)
    cluster.heal()
    assert cluster.leader() in cluster.node_ids


def test_a_cut_outlives_a_restart(cluster: InProcessCluster) -> None:
    cluster.partition(3, {1, 2})
    cluster.kill(3)
    cluster.restart(3)
    with pytest.raises(ClusterError, match=r"not every node knows a leader after 0\.5 s"):
        cluster.wait_serving(3, timeout_s=0.5)
    cluster.heal()
    cluster.wait_serving(3)


# Mistakes, the caller's and a node's


def test_what_cannot_be_done_is_said(cluster: InProcessCluster) -> None:
    cluster.kill(1)
    for act, complaint in (
        (lambda: cluster.kill(1), "node 1 is dead already"),
        (lambda: cluster.wait_serving(1), "node 1 is dead"),
        (lambda: cluster.kill(4), "there is no node 4: this cluster has nodes 1, 2, 3"),
        (lambda: cluster.partition(1), "at least two groups"),
        (lambda: cluster.partition(1, {1, 2}), "node 1 is in two groups"),
        (lambda: cluster.partition(1, 7), "there is no node 7"),
        (cluster.start, "runs already"),
        (lambda: InProcessCluster(nodes=10), "from 1 to 9 nodes, not 10"),
        (InProcessCluster().heal, "does not run"),
    ):
        with pytest.raises(ClusterError, match=complaint):
            act()


def test_a_node_that_finds_itself_wrong_is_gone_and_the_test_fails() -> None:
    """Its log refuses a record. As a process it would have exited; here nobody may overlook it."""
    cluster = InProcessCluster()
    cluster.start()
    try:
        victim = next(i for i in cluster.node_ids if i != cluster.leader())
        cluster.kill(victim)
        with closing(sqlite3.connect(cluster.data_dir / str(victim) / "acceptor.db")) as log:
            log.execute("CREATE TRIGGER broken BEFORE INSERT ON records BEGIN SELECT RAISE(FAIL, 'out of order'); END")
        cluster.restart(victim)
        with client_of(cluster, *(i for i in cluster.node_ids if i != victim)) as client:
            eventually(lambda: client.put("key", "value"))
        until_blocking(lambda: not cluster.is_alive(victim))
        with pytest.raises(NodeFailed, match=f"node {victim} found itself wrong and stopped: .*out of order"):
            cluster.leader()
        until_blocking(lambda: is_free(cluster.endpoint(victim)))
        assert not cluster.is_alive(victim)
    finally:
        with pytest.raises(NodeFailed):
            cluster.stop()
    cluster.stop()
