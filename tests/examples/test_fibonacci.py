"""The distributed Fibonacci does what it says; and it would notice if it did not."""

import threading
from dataclasses import replace

import pytest
from kvclient import Client, KeyValue

from examples import fibonacci
from kvstore.testing.in_process import InProcessCluster
from tests.examples.running import run


@pytest.mark.e2e
def test_the_sequence_comes_out_right_whoever_dies() -> None:
    ended = run("fibonacci.py", "--terms", "100")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    for said in ("kill Ada", "which leads, with SIGKILL", "kill Bob", "the last one is 218922995834555169026"):
        assert said in ended.stdout
    assert ended.stdout.splitlines()[-1] == "done: every term is right, and was written exactly once"


def test_too_few_terms_for_all_those_deaths_are_refused() -> None:
    ended = run("fibonacci.py", "--terms", "19")
    assert ended.returncode == 2
    assert "at least 20 terms" in ended.stderr


@pytest.mark.parametrize("fault", ["the leader dies", "the leader is cut off"])
def test_workers_agree_on_one_sequence_through_a_fault(
    kv_cluster: InProcessCluster, kv_client: Client, fault: str
) -> None:
    """Every term is found by one of them, and all know by whom."""
    own: dict[str, int] = {}

    def work(name: str) -> None:
        with Client(kv_cluster.endpoints, timeout=2.0) as client:
            own[name] = fibonacci.work(client, name=name, terms=60)

    workers = [threading.Thread(target=work, args=(name,)) for name in ("Ada", "Bob", "Cyd")]
    for worker in workers:
        worker.start()
    fibonacci.wait_for(kv_client, 20)
    leader = kv_cluster.leader()
    if fault == "the leader dies":
        kv_cluster.kill(leader)
    else:
        kv_cluster.partition(leader, set(kv_cluster.node_ids) - {leader})
    assert fibonacci.length(kv_client) < 60
    for worker in workers:
        worker.join(120)
    kv_cluster.heal()
    by = fibonacci.check(kv_client.get_prefix(fibonacci.PREFIX, timeout=30).kvs, terms=60)
    assert {name: count for name, count in own.items() if count} == dict(by)


def stored(*terms: str) -> tuple[KeyValue, ...]:
    return tuple(
        KeyValue(
            key=fibonacci.key_of(index).encode(),
            value=f"{term} by Ada".encode(),
            create_revision=2 + index,
            mod_revision=2 + index,
            version=1,
            lease=0,
        )
        for index, term in enumerate(terms)
    )


def test_a_right_sequence_passes() -> None:
    assert fibonacci.check(stored("0", "1", "1", "2", "3"), terms=5) == {"Ada": 5}
    assert fibonacci.sum_of(5) == 3


def test_a_wrong_sequence_does_not() -> None:
    good = stored("0", "1", "1", "2", "3")
    for bad, complaint in (
        (good[:-1], "4 terms are there, not 5"),
        ((*good[:3], *stored("0", "1", "1", "2", "3", "5")[4:]), "term 3 is missing"),
        (stored("0", "1", "1", "2", "4"), "term 4 is 3, and not 4"),
        ((*good[:4], replace(good[4], version=2)), "term 4 was written 2 times"),
        ((*good[:4], replace(good[4], create_revision=3)), "term 4 was written before the one that it needs"),
    ):
        with pytest.raises(SystemExit, match=complaint):
            fibonacci.check(bad, terms=len(bad) if complaint.startswith("term") else 5)
