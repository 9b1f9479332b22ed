"""What clients were told while nodes were killed and paused has an order that explains all of it (L5 to L7)."""

from pathlib import Path

import pytest

from kvstore.server.local_cluster import LocalCluster
from kvstore.server.processes import wait_until
from kvstore.testing.checking import check, write_history
from tests.e2e.clusters import WAIT_S, leader_of, statuses
from tests.e2e.mixed_load import MixedLoad, logged
from tests.e2e.verify import check_disks_agree, read_disk

pytestmark = pytest.mark.e2e


def test_histories_recorded_under_kills_and_pauses_are_linearizable(cluster: LocalCluster, tmp_path: Path) -> None:
    endpoints = {node_id: cluster.endpoint(node_id) for node_id in cluster.node_ids}
    with MixedLoad(endpoints) as load:
        for _ in range(2):
            _await_answers(load)
            killed = leader_of(cluster)
            cluster.kill(killed)
            _await_answers(load)
            cluster.restart(killed)
            cluster.wait_serving(killed, timeout_s=WAIT_S)
            _await_answers(load)
            paused = leader_of(cluster)
            cluster.pause(paused)
            _await_answers(load)
            cluster.resume(paused)
            _await_answers(load)
            follower = next(i for i in cluster.node_ids if i != leader_of(cluster))
            cluster.kill(follower)
            _await_answers(load)
            cluster.restart(follower)
            cluster.wait_serving(timeout_s=WAIT_S)

    history = load.history()
    with (tmp_path / "history.jsonl").open("w") as file:
        write_history(history, file)
    assert wait_until(lambda: len({s.raftAppliedIndex for s in statuses(cluster).values()}) == 1, timeout_s=WAIT_S)
    for node_id in cluster.node_ids:
        cluster.kill(node_id)
    disks = [read_disk(cluster.node_dir(node_id), node_id) for node_id in cluster.node_ids]
    check_disks_agree(disks)

    verdict = check(history, {disk.node_id: logged(disk.decided) for disk in disks})

    assert verdict.ok, f"{tmp_path}/history.jsonl:\n{verdict}"
    assert len(history.operations) > 1000


def _await_answers(load: MixedLoad) -> None:
    wanted = load.answered + 200
    assert wait_until(lambda: load.answered >= wanted, timeout_s=WAIT_S), "nothing is answered any more"
