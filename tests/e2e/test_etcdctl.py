"""etcdctl 3.4, as Debian ships it, against every node: what it prints is what it prints for etcd."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable

import pytest

from kvstore.server.local_cluster import LocalCluster
from tests.e2e.clusters import leader_of

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("etcdctl") is None, reason="etcdctl is not installed: apt-get install etcd-client"),
]

Etcdctl = Callable[..., str]


def run(endpoints: str, *arguments: str, text: str | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["etcdctl", "--endpoints", endpoints, *arguments],
        input=text,
        capture_output=True,
        text=True,
        env={**os.environ, "ETCDCTL_API": "3"},
        timeout=60,
        check=False,
    )


@pytest.fixture(params=[1, 2, 3], ids="node {}".format)
def etcdctl(request: pytest.FixtureRequest, steady_cluster: LocalCluster) -> Etcdctl:
    """Runs a command against one node and returns what it printed. Every test begins with an empty store."""
    endpoint = steady_cluster.endpoint(request.param)

    def command(*arguments: str, text: str | None = None) -> str:
        done = run(endpoint, *arguments, text=text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    command("del", "", "--prefix")
    return command


@pytest.fixture
def refused(etcdctl: Etcdctl, request: pytest.FixtureRequest, steady_cluster: LocalCluster) -> Etcdctl:
    """Runs a command that must fail and returns its last word."""
    endpoint = steady_cluster.endpoint(request.node.callspec.params["etcdctl"])

    def command(*arguments: str, text: str | None = None) -> str:
        done = run(endpoint, *arguments, text=text)
        assert done.returncode == 1, done.stdout
        return done.stderr.splitlines()[-1]

    return command


def fields(text: str) -> dict[str, str]:
    """What ``-w fields`` prints, one ``"Name" : value`` a line."""
    pairs = (line.split(" : ", maxsplit=1) for line in text.splitlines() if line)
    return {name.strip('"'): value for name, value in pairs}


def test_put(etcdctl: Etcdctl) -> None:
    assert etcdctl("put", "key", "old") == "OK\n"
    assert etcdctl("put", "key", "new", "--prev-kv") == "OK\nkey\nold\n"
    assert etcdctl("put", "key", text="from standard input") == "OK\n"
    assert etcdctl("get", "key", "--print-value-only") == "from standard input\n"
    assert etcdctl("put", "key", "--ignore-value") == "OK\n"
    assert etcdctl("get", "key", "--print-value-only") == "from standard input\n"


def test_get_one(etcdctl: Etcdctl) -> None:
    etcdctl("put", "key", "value")

    assert etcdctl("get", "key") == "key\nvalue\n"
    assert etcdctl("get", "key", "--consistency=l") == "key\nvalue\n"
    assert etcdctl("get", "key", "--consistency=s") == "key\nvalue\n"
    assert etcdctl("get", "key", "--hex") == "\\x6b\\x65\\x79\n\\x76\\x61\\x6c\\x75\\x65\n"
    assert etcdctl("get", "absent") == ""


def test_get_many(etcdctl: Etcdctl) -> None:
    for key, value in (("a1", "z"), ("a2", "y"), ("a3", "x"), ("b", "w")):
        etcdctl("put", key, value)
    etcdctl("put", "a1", "v")

    assert etcdctl("get", "a", "--prefix") == "a1\nv\na2\ny\na3\nx\n"
    assert etcdctl("get", "a", "--prefix", "--limit=2") == "a1\nv\na2\ny\n"
    assert etcdctl("get", "a", "--prefix", "--keys-only") == "a1\n\na2\n\na3\n\n"
    assert etcdctl("get", "a", "--prefix", "--print-value-only") == "v\ny\nx\n"
    assert etcdctl("get", "a1", "a3") == "a1\nv\na2\ny\n"
    assert etcdctl("get", "a2", "--from-key") == "a2\ny\na3\nx\nb\nw\n"
    assert etcdctl("get", "", "--prefix", "--keys-only") == "a1\n\na2\n\na3\n\nb\n\n"


@pytest.mark.parametrize(
    ("target", "ascending"),
    [
        ("KEY", "a1 a2 a3"),
        ("CREATE", "a3 a1 a2"),
        ("MODIFY", "a1 a2 a3"),
        ("VALUE", "a2 a3 a1"),
        ("VERSION", "a1 a2 a3"),
    ],
)
def test_get_sorted(etcdctl: Etcdctl, target: str, ascending: str) -> None:
    """Created in the order a3, a1, a2; modified in the order of the keys; as often as their number says."""
    for key in ("a3", "a1", "a2"):
        etcdctl("put", key, "first")
    etcdctl("put", "a1", "w")
    for value in ("first", "u"):
        etcdctl("put", "a2", value)
    for value in ("first", "first", "v"):
        etcdctl("put", "a3", value)

    def keys(*flags: str) -> list[str]:
        return etcdctl("get", "a", "--prefix", "--keys-only", f"--sort-by={target}", *flags).split()

    assert keys() == ascending.split()
    assert keys("--order=ASCEND") == ascending.split()
    assert keys("--order=DESCEND") == ascending.split()[::-1]


def test_get_of_the_past(etcdctl: Etcdctl) -> None:
    etcdctl("put", "key", "old")
    revision = fields(etcdctl("get", "key", "-w", "fields"))["ModRevision"]
    etcdctl("put", "key", "new")
    etcdctl("put", "key2", "later")

    assert etcdctl("get", "key", f"--rev={revision}") == "key\nold\n"
    assert etcdctl("get", "key", "--prefix", f"--rev={revision}") == "key\nold\n"
    assert etcdctl("get", "key") == "key\nnew\n"


def test_get_in_other_formats(etcdctl: Etcdctl) -> None:
    etcdctl("put", "key", "old")
    etcdctl("put", "key", "value")

    as_json = json.loads(etcdctl("get", "key", "-w", "json"))
    (kv,) = as_json["kvs"]
    assert (kv["key"], kv["value"], kv["version"]) == ("a2V5", "dmFsdWU=", 2)
    assert kv["mod_revision"] == kv["create_revision"] + 1 == as_json["header"]["revision"]
    assert as_json["count"] == 1
    assert set(as_json["header"]) == {"cluster_id", "member_id", "revision", "raft_term"}, "none of them is zero"

    as_fields = fields(etcdctl("get", "key", "-w", "fields"))
    assert as_fields["Key"] == '"key"'
    assert as_fields["Value"] == '"value"'
    assert as_fields["ModRevision"] == str(kv["mod_revision"])
    assert (as_fields["More"], as_fields["Count"], as_fields["Lease"]) == ("false", "1", "0")

    limited = json.loads(etcdctl("get", "", "--prefix", "--limit=1", "-w", "json"))
    assert limited["count"] == 1
    assert "more" not in limited
    etcdctl("put", "another", "value")
    limited = json.loads(etcdctl("get", "", "--prefix", "--limit=1", "-w", "json"))
    assert (limited["count"], limited["more"]) == (2, True), "the count is the range's, whatever the limit"


def test_del(etcdctl: Etcdctl) -> None:
    for key in ("a1", "a2", "a3", "b1", "b2", "c"):
        etcdctl("put", key, f"value of {key}")

    assert etcdctl("del", "a1") == "1\n"
    assert etcdctl("del", "a1") == "0\n"
    assert etcdctl("del", "a", "--prefix", "--prev-kv") == "2\na2\nvalue of a2\na3\nvalue of a3\n"
    assert etcdctl("del", "b1", "b2") == "1\n"
    assert etcdctl("del", "b", "--from-key") == "2\n"
    assert etcdctl("get", "", "--prefix") == ""


def test_txn(etcdctl: Etcdctl) -> None:
    """As etcdctl reads it from standard input: comparisons, requests if they hold, requests if not; blank lines end."""
    etcdctl("put", "key", "value")
    text = 'value("key") = "value"\nversion("key") = "1"\n\nput key swapped\nget key\n\nput key failed\n\n'

    assert etcdctl("txn", text=text) == "SUCCESS\n\nOK\n\nkey\nswapped\n"
    assert etcdctl("txn", text=text) == "FAILURE\n\nOK\n"
    assert etcdctl("get", "key") == "key\nfailed\n"
    asked = etcdctl("txn", "-i", text='mod("key") > "0"\ncreate("absent") = "0"\n\ndel key\n\n\n')
    assert asked.startswith("compares:\n")
    assert asked.endswith("SUCCESS\n\n1\n")
    assert etcdctl("get", "key") == ""


def test_refusals_are_etcds_word_for_word(etcdctl: Etcdctl, refused: Etcdctl) -> None:
    """The client compares error texts byte for byte."""
    assert refused("put", "", "value") == "Error: etcdserver: key is not provided"
    assert refused("get", "") == "Error: etcdserver: key is not provided"
    assert refused("put", "absent", "--ignore-value") == "Error: etcdserver: key not found"
    assert refused("put", "--lease=123", "key", "value") == "Error: etcdserver: requested lease not found"
    assert refused("get", "key", "--rev=99999999") == (
        "Error: etcdserver: mvcc: required revision is a future revision"
    )
    assert refused("txn", text="\nput key 1\nput key 2\n\n\n") == (
        "Error: etcdserver: duplicate key given in txn request"
    )
    assert etcdctl("get", "", "--prefix") == "", "nothing was done"


def test_endpoint_status(etcdctl: Etcdctl, steady_cluster: LocalCluster) -> None:
    leader = leader_of(steady_cluster)

    (own,) = json.loads(etcdctl("endpoint", "status", "-w", "json"))
    status = own["Status"]
    assert status["leader"] == leader
    assert status["version"] == "3.4.0"
    assert status["dbSize"] >= status["dbSizeInUse"] > 0
    assert status["raftIndex"] >= status["raftAppliedIndex"] > 0

    everybody = json.loads(etcdctl("endpoint", "status", "--cluster", "-w", "json"))
    assert [one["Endpoint"] for one in everybody] == [f"http://{endpoint}" for endpoint in steady_cluster.endpoints]
    assert [one["Status"]["header"]["member_id"] for one in everybody] == [1, 2, 3]
    assert {one["Status"]["leader"] for one in everybody} == {leader}

    table = etcdctl("endpoint", "status", "--cluster", "-w", "table")
    assert "IS LEADER" in table
    assert table.count(" true ") == 1
    assert all(endpoint in table for endpoint in steady_cluster.endpoints)
    simple = etcdctl("endpoint", "status", "--cluster").splitlines()
    assert [line.split(", ")[4] for line in simple] == [str(i == leader).lower() for i in (1, 2, 3)]


def test_endpoint_health(etcdctl: Etcdctl, steady_cluster: LocalCluster) -> None:
    everybody = json.loads(etcdctl("endpoint", "health", "--cluster", "-w", "json"))

    assert {one["endpoint"] for one in everybody} == {f"http://{endpoint}" for endpoint in steady_cluster.endpoints}
    assert all(one["health"] for one in everybody)
    assert "HEALTH" in etcdctl("endpoint", "health", "-w", "table")


def test_member_list(etcdctl: Etcdctl, steady_cluster: LocalCluster) -> None:
    ports = [int(endpoint.rpartition(":")[2]) for endpoint in steady_cluster.endpoints]

    assert etcdctl("member", "list").splitlines() == [
        f"{i}, started, node{i}, http://127.0.0.1:{port + 1}, http://127.0.0.1:{port}, false"
        for i, port in enumerate(ports, start=1)
    ]
    assert "STATUS" in etcdctl("member", "list", "-w", "table")
    members = json.loads(etcdctl("member", "list", "-w", "json"))["members"]
    assert [member["ID"] for member in members] == [1, 2, 3]


def test_all_endpoints_at_once(steady_cluster: LocalCluster) -> None:
    """The client balances its requests over them and follows its own writes."""
    endpoints = ",".join(steady_cluster.endpoints)
    for number in range(5):
        assert run(endpoints, "put", "key", str(number)).stdout == "OK\n"
        assert run(endpoints, "get", "key", "--print-value-only").stdout == f"{number}\n"
