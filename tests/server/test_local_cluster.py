"""What LocalCluster does to processes, tried on stand-ins for kv-server (the real one: tests/e2e)."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvstore.server.cluster_state import ClusterError
from kvstore.server.local_cluster import Condition, Health, LocalCluster
from kvstore.server.ports import free_base_port, is_free
from kvstore.server.processes import Process, is_alive, look_at, reap, send, spawn, wait_until

FAKE = (sys.executable, "-SE", str(Path(__file__).with_name("fake_node.py")))


def make(data_dir: Path, *flags: str, nodes: int = 3) -> LocalCluster:
    return LocalCluster(
        data_dir,
        nodes=nodes,
        base_port=free_base_port(nodes=nodes),
        server_flags=flags,
        environment={"KV_FAKE": "of the cluster"},
        server_command=FAKE,
    )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    cluster = make(tmp_path / "data")
    cluster.start()
    try:
        cluster.wait_ready()
        yield cluster
    finally:
        cluster.stop()


def conditions(cluster: LocalCluster) -> list[Condition]:
    return [look.condition for look in cluster.look()]


def test_nodes_are_ten_ports_apart_and_each_peer_port_follows_its_client_port(tmp_path: Path) -> None:
    cluster = LocalCluster(tmp_path, nodes=3, base_port=2379)

    assert cluster.endpoints == ["127.0.0.1:2379", "127.0.0.1:2389", "127.0.0.1:2399"]
    assert cluster.node_ids == (1, 2, 3)


@pytest.mark.parametrize(("nodes", "base_port"), [(0, 2379), (10, 2379), (3, 0), (3, 65530)])
def test_impossible_clusters_are_refused(tmp_path: Path, nodes: int, base_port: int) -> None:
    with pytest.raises(ClusterError):
        LocalCluster(tmp_path, nodes=nodes, base_port=base_port)


def test_all_start_and_all_stop_leaving_their_logs_and_no_state_file(tmp_path: Path) -> None:
    cluster = make(tmp_path / "data")

    cluster.start()
    cluster.wait_ready()
    processes = [cluster.process(i) for i in cluster.node_ids]
    assert conditions(cluster) == [Condition.RUNNING] * 3
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700

    assert cluster.stop() == ()
    assert not any(is_alive(process) for process in processes if process)
    assert not (tmp_path / "data" / "cluster.json").exists()
    assert "ready to serve" in cluster.log_path(1).read_text()


def test_a_killed_node_is_dead_and_stays_dead_until_it_is_restarted(cluster: LocalCluster) -> None:
    before = cluster.process(2)

    cluster.kill(2)
    assert conditions(cluster) == [Condition.RUNNING, Condition.DEAD, Condition.RUNNING]
    assert cluster.exit_code(2) == -signal.SIGKILL

    cluster.restart(2)
    cluster.wait_ready(2)
    assert conditions(cluster) == [Condition.RUNNING] * 3
    assert cluster.process(2) != before
    assert cluster.log_path(2).read_text().count("ready to serve") == 2, "one log per node, not per process"


def test_readiness_is_that_of_the_present_process_not_of_an_earlier_one(tmp_path: Path) -> None:
    cluster = make(tmp_path / "data", nodes=1)
    cluster.start()
    cluster.wait_ready()
    cluster.stop()
    silent = LocalCluster(
        tmp_path / "data",
        nodes=1,
        base_port=free_base_port(nodes=1),
        server_flags=["--never-ready"],
        server_command=FAKE,
    )

    silent.start()
    try:
        with pytest.raises(ClusterError, match=r"node 1 is not ready after 0\.5 s"):
            silent.wait_ready(timeout_s=0.5)
    finally:
        silent.stop()


def test_restarting_a_running_node_stops_it_gently_first(cluster: LocalCluster) -> None:
    before = cluster.process(1)
    assert before is not None

    cluster.restart(1)

    assert not is_alive(before)
    assert cluster.is_alive(1)


def test_a_restart_keeps_the_environment_and_what_is_added_lasts_one_process(cluster: LocalCluster) -> None:
    def told() -> list[str]:
        cluster.wait_ready(1)
        wait_until(lambda: len(lines()) == expected, timeout_s=10)
        return lines()

    def lines() -> list[str]:
        return [line for line in cluster.log_path(1).read_text().splitlines() if line.startswith("KV_FAKE")]

    cluster.restart(1, environment={"KV_FAKE": "of one process"})
    expected = 2
    assert told()[-1] == "KV_FAKE is of one process"

    cluster.restart(1)
    expected = 3
    assert told()[-1] == "KV_FAKE is of the cluster"


def test_variables_of_this_process_meant_for_one_node_are_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KV_FAKE", "from outside")
    cluster = LocalCluster(tmp_path / "data", nodes=1, base_port=free_base_port(nodes=1), server_command=FAKE)
    cluster.start()
    try:
        log = cluster.log_path(1)
        assert wait_until(lambda: log.exists() and "KV_FAKE is None" in log.read_text(), timeout_s=10)
    finally:
        cluster.stop()


def test_a_paused_node_is_paused_until_it_is_resumed(cluster: LocalCluster) -> None:
    cluster.pause(3)
    assert conditions(cluster) == [Condition.RUNNING, Condition.RUNNING, Condition.PAUSED]

    cluster.resume(3)
    assert conditions(cluster) == [Condition.RUNNING] * 3


def test_a_paused_node_can_be_killed_and_the_cluster_stopped_with_one(cluster: LocalCluster) -> None:
    cluster.pause(1)
    cluster.kill(1)
    assert not cluster.is_alive(1)

    cluster.pause(2)
    assert cluster.stop() == (), "SIGTERM reaches it as soon as it is resumed"


def test_a_node_that_ignores_sigterm_is_killed_and_named(tmp_path: Path) -> None:
    cluster = make(tmp_path / "data", "--stubborn", nodes=1)
    cluster.start()
    cluster.wait_ready()

    assert cluster.stop(timeout_s=0.2) == (1,)


@pytest.mark.parametrize("act", ["kill", "pause", "resume", "terminate"])
def test_a_dead_node_cannot_be_acted_on(cluster: LocalCluster, act: str) -> None:
    cluster.kill(2)

    with pytest.raises(ClusterError, match="node 2 is dead already"):
        getattr(cluster, act)(2)


@pytest.mark.parametrize("act", ["kill", "restart", "pause", "resume", "terminate"])
def test_an_unknown_node_is_named_together_with_those_there_are(cluster: LocalCluster, act: str) -> None:
    with pytest.raises(ClusterError, match="there is no node 4: this cluster has nodes 1, 2, 3"):
        getattr(cluster, act)(4)


def test_what_is_not_paused_cannot_be_resumed(cluster: LocalCluster) -> None:
    with pytest.raises(ClusterError, match="node 1 is not paused"):
        cluster.resume(1)


def test_a_node_that_refuses_to_start_is_reported_with_what_it_said(tmp_path: Path) -> None:
    cluster = make(tmp_path / "data", "--refuse")

    cluster.start()
    with pytest.raises(ClusterError, match=r"node 1 exited with code 2; its log ends:\nfake: refused"):
        cluster.wait_ready()
    cluster.stop()


def test_a_port_in_use_is_named_before_anything_is_started(cluster: LocalCluster, tmp_path: Path) -> None:
    port = int(cluster.endpoint(1).rpartition(":")[2])
    second = LocalCluster(tmp_path / "second", nodes=1, base_port=port, server_command=FAKE)

    with pytest.raises(ClusterError, match=f"node 1 cannot use 127.0.0.1:{port}"):
        second.start()

    assert not (tmp_path / "second" / "cluster.json").exists()


def test_a_second_cluster_in_the_same_directory_is_refused(cluster: LocalCluster) -> None:
    second = make(cluster.data_dir)

    with pytest.raises(ClusterError, match=r"a cluster runs in .* already"):
        second.start()


def test_another_terminal_works_on_the_same_nodes(cluster: LocalCluster) -> None:
    other = LocalCluster.attach(cluster.data_dir)
    assert other.endpoints == cluster.endpoints

    other.kill(1)
    assert not cluster.is_alive(1)

    other.restart(1)
    assert cluster.is_alive(1)
    cluster.wait_ready(1)


def test_there_is_nothing_to_attach_to_where_no_cluster_runs(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="no cluster runs in"):
        LocalCluster.attach(tmp_path)
    with pytest.raises(ClusterError, match="no cluster runs in"):
        LocalCluster.attach(tmp_path / "absent")


def test_a_state_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text("{")

    with pytest.raises(ClusterError, match=r"cluster\.json is not a state file of format 1"):
        LocalCluster.attach(tmp_path)


def test_the_state_file_of_a_dead_cluster_is_no_obstacle(cluster: LocalCluster) -> None:
    """All nodes and their supervisor were killed: the next start goes on."""
    state = cluster.data_dir / "cluster.json"
    for node_id in cluster.node_ids:
        cluster.kill(node_id)
    data = json.loads(state.read_text())
    data["supervisor"] = {"pid": data["supervisor"]["pid"], "birth": "another"}
    state.write_text(json.dumps(data))

    again = make(cluster.data_dir)
    again.start()

    again.wait_ready()
    assert conditions(again) == [Condition.RUNNING] * 3
    again.stop()


def test_a_node_without_the_health_service_is_unreachable(cluster: LocalCluster) -> None:
    cluster.kill(1)

    assert cluster.health(1, timeout_s=0.2) is Health.UNREACHABLE


def test_a_number_that_is_used_again_is_not_the_process_that_had_it() -> None:
    """Otherwise a kill could hit a stranger."""
    this = look_at(os.getpid())
    assert this is not None
    stranger = Process(pid=this.pid, birth="long ago")

    assert is_alive(this)
    assert not is_alive(stranger)
    assert send(stranger, signal.SIGKILL) is False, "or this test would not be here to say so"


def test_a_free_base_port_has_all_its_ports_free() -> None:
    base = free_base_port(nodes=5)

    assert all(is_free(f"127.0.0.1:{base + 10 * i + peer}") for i in range(5) for peer in (0, 1))


LEADERLESS = """
import ctypes, socket, sys, threading, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
threading.Thread(target=time.sleep, args=(3600,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux shows such a process as a zombie")
def test_a_zombie_is_not_dead_as_long_as_it_has_threads_which_hold_its_ports(tmp_path: Path) -> None:
    """So it is for a moment with every process of many threads that is killed."""
    port = free_base_port(nodes=1)
    process = spawn([sys.executable, "-c", LEADERLESS, str(port)], log=tmp_path / "log", environment=os.environ)
    stat = Path(f"/proc/{process.pid}/stat")
    try:
        assert wait_until(lambda: ") Z " in stat.read_text(), timeout_s=30), (tmp_path / "log").read_text()
        assert is_alive(process)
        assert not is_free(f"127.0.0.1:{port}")
    finally:
        assert send(process, signal.SIGKILL)

    assert wait_until(lambda: not is_alive(process), timeout_s=30)
    assert is_free(f"127.0.0.1:{port}")
    assert reap(process) == -signal.SIGKILL
