"""Real nodes: every one serves everything, and what a majority can do goes on whatever befalls the others."""

import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from kvclient import Client, DeadlineExceeded, NoLeader, Unavailable, UnknownOutcome

from kvstore.server.local_cluster import Health, LocalCluster
from kvstore.server.processes import wait_until
from tests.e2e.clusters import WAIT_S, clients_of, eventually, leader_of, running, statuses
from tests.e2e.load import WriteLoad
from tests.e2e.verify import check_disks_agree, check_order, check_read_back, check_rows, read_disk

pytestmark = pytest.mark.e2e


Through = Mapping[int, Client]


def value(client: Client, key: str, *, serializable: bool = False) -> bytes | None:
    found = client.get(key, serializable=serializable)
    return None if found is None else found.value


def test_what_is_put_through_any_node_is_read_at_once_through_all_of_them(through: Through) -> None:
    """Each read begins after the write was acknowledged, so each must see it (L7)."""
    revisions = []
    for round_ in range(3):
        for number, writer in through.items():
            written = f"{round_} through {number}"
            revisions.append(writer.put("key", written).revision)
            for reader in through.values():
                assert value(reader, "key") == written.encode()

    assert revisions == sorted(set(revisions)), "every write has a revision of its own, in the order of the writes"


def test_five_nodes_serve_everything_with_two_of_them_down(tmp_path: Path) -> None:
    with running(tmp_path / "cluster", nodes=5) as cluster, clients_of(cluster) as through:
        through[1].put("before", "all five")
        down = [leader_of(cluster)]
        down.append(next(i for i in cluster.node_ids if i not in down))
        for node_id in down:
            cluster.kill(node_id)

        living = [i for i in cluster.node_ids if i not in down]
        for writer in living:
            eventually(lambda w=writer: through[w].put("during", "three"))  # type: ignore[misc]
            for reader in living:
                assert value(through[reader], "before") == b"all five"
                assert value(through[reader], "during") == b"three"

        for node_id in down:
            cluster.restart(node_id)
        cluster.wait_serving(timeout_s=WAIT_S)
        for node_id in down:
            assert value(through[node_id], "during") == b"three", "it has caught up with what it missed"


def test_a_cluster_that_was_stopped_goes_on_where_it_was(cluster: LocalCluster, through: Through) -> None:
    """All data, revisions and ballots survive a stop of all nodes, in every order of their return."""
    last = [client.put(f"key {number}", f"value {number}").revision for number, client in through.items()][-1]
    rounds = {node_id: status.raftTerm for node_id, status in statuses(cluster).items()}

    assert cluster.stop() == (), "all of them stop in time"
    cluster.start()
    cluster.wait_serving(timeout_s=WAIT_S)

    for client in through.values():
        for number in through:
            assert value(client, f"key {number}") == f"value {number}".encode()
    for node_id, status in statuses(cluster).items():
        assert status.raftTerm >= rounds[node_id], "the promised ballot never falls"
    assert through[1].put("after", "the stop").revision == last + 1


@pytest.mark.parametrize("remaining", ["leader", "follower"])
def test_with_two_of_three_down_writes_fail_clearly_and_old_state_is_readable(
    cluster: LocalCluster, through: Through, remaining: str
) -> None:
    through[1].put("key", "old")
    leader = leader_of(cluster)
    followers = [i for i in cluster.node_ids if i != leader]
    lonely = leader if remaining == "leader" else followers[0]
    assert wait_until(lambda: value(through[lonely], "key", serializable=True) == b"old", timeout_s=WAIT_S)
    down = [i for i in cluster.node_ids if i != lonely]
    for node_id in down:
        cluster.kill(node_id)

    client, timeout_s = through[lonely], 2.0
    began = time.monotonic()
    with pytest.raises((UnknownOutcome, NoLeader)) as refused:
        client.put("key", "new", timeout=timeout_s)
    assert time.monotonic() - began < timeout_s + 2.0, "the client's deadline holds"
    assert str(refused.value).startswith(cluster.endpoint(lonely))

    # Without a quorum for an election timeout even a leader knows of no leader, and says so at once.
    assert wait_until(lambda: cluster.health(lonely) is Health.NOT_SERVING, timeout_s=WAIT_S)
    with pytest.raises(NoLeader, match="etcdserver: no leader"):
        client.put("key", "newer", timeout=timeout_s)
    with pytest.raises((NoLeader, DeadlineExceeded)):
        client.get("key", timeout=timeout_s)
    assert value(client, "key", serializable=True) == b"old"

    cluster.restart(down[0])
    cluster.wait_serving(lonely, down[0], timeout_s=WAIT_S)
    assert value(client, "key") in {b"old", b"new"}, "only the write of unknown outcome may have been done"
    client.put("key", "newest")
    assert value(through[down[0]], "key") == b"newest"


def test_a_node_that_is_told_to_stop_hands_over_and_no_write_is_lost_or_left_in_doubt(cluster: LocalCluster) -> None:
    """SIGTERM under load, each node in its turn, the leader first: exit 0 within 5 s, and a leader is there at once."""
    endpoints = {node_id: cluster.endpoint(node_id) for node_id in cluster.node_ids}
    leader = leader_of(cluster)
    with WriteLoad(endpoints, writers_per_node=8) as load:
        for node_id in [leader, *(i for i in cluster.node_ids if i != leader)]:
            _await_writes(load, 200)
            began = time.monotonic()
            cluster.terminate(node_id)
            assert time.monotonic() - began < 5.0
            assert cluster.exit_code(node_id) == 0
            if node_id == leader:
                assert "handing leadership over to node" in cluster.log_tail(node_id)
                assert leader_of(cluster) != leader
            _await_writes(load, 200)
            cluster.restart(node_id)
            cluster.wait_serving(node_id, timeout_s=WAIT_S)
            load.return_to(node_id)
        _await_writes(load, 200)

    assert not load.errors, "requests in flight end before a node does"
    check_order(load.writes)
    for endpoint in cluster.endpoints:
        check_read_back(endpoint, load.writes)
    assert wait_until(lambda: len({s.raftAppliedIndex for s in statuses(cluster).values()}) == 1, timeout_s=WAIT_S)
    for node_id in cluster.node_ids:
        cluster.kill(node_id)
    disks = [read_disk(cluster.node_dir(node_id), node_id) for node_id in cluster.node_ids]
    check_disks_agree(disks)
    for disk in disks:
        check_rows(disk, load.writes)


def _await_writes(load: WriteLoad, more: int) -> None:
    wanted = load.acknowledged + more
    assert wait_until(lambda: load.acknowledged >= wanted, timeout_s=WAIT_S), "writes are acknowledged no more"


def test_a_follower_that_was_paused_catches_up_and_disturbs_nobody(cluster: LocalCluster, through: Through) -> None:
    """It comes back believing that no time has passed, or that the leader is dead: it asks before it raises a round."""
    leader = leader_of(cluster)
    follower = next(i for i in cluster.node_ids if i != leader)
    before = statuses(cluster)[leader]

    cluster.pause(follower)
    written, began = 0, time.monotonic()
    while time.monotonic() - began < 3.0:  # several election timeouts: this story is about their passing
        through[leader].put(f"key {written}", "written without it")
        written += 1
    cluster.resume(follower)

    for number in range(0, written, 20):
        assert value(through[follower], f"key {number}") == b"written without it"
    after = statuses(cluster)[leader]
    assert (after.leader, after.raftTerm) == (leader, before.raftTerm), "the leader and its ballot stay"


def test_a_killed_leader_is_replaced_and_comes_back_as_a_follower_with_all_that_it_missed(
    cluster: LocalCluster, through: Through
) -> None:
    leader = leader_of(cluster)
    living = [i for i in cluster.node_ids if i != leader]

    cluster.kill(leader)
    with Client([cluster.endpoint(i) for i in living], timeout=WAIT_S) as client:
        for number in range(50):
            client.put(f"key {number}", "without it")
    cluster.restart(leader)
    cluster.wait_serving(leader, timeout_s=WAIT_S)

    assert leader_of(cluster) in living
    for number in range(50):
        assert value(through[leader], f"key {number}") == b"without it"


def test_a_client_that_knows_all_nodes_hardly_notices_that_one_is_down(cluster: LocalCluster) -> None:
    """No endpoint, no write: certain, so the client tries the next one by itself."""
    cluster.kill(1)

    with Client(cluster.endpoints, timeout=WAIT_S) as client:
        eventually(lambda: client.put("key", "value"))
        assert value(client, "key") == b"value"
    with Client(cluster.endpoint(1), timeout=1.0) as client, pytest.raises(Unavailable):
        client.put("key", "value")
