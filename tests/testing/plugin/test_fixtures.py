"""The fixtures, used as another project would use them; and what they cost a project that does not."""

import subprocess
import sys
import threading
from importlib.metadata import entry_points

import pytest
from kvclient import Client, KvError

from kvstore.testing.in_process import InProcessCluster

pytest_plugins = "pytester"


def test_a_write_survives_the_leader(kv_cluster: InProcessCluster, kv_client: Client) -> None:
    kv_client.put("greeting", "hello")
    kv_cluster.kill(kv_cluster.leader())
    kv_cluster.leader()
    found = kv_client.get("greeting", timeout=30)
    assert found is not None
    assert found.value == b"hello"


@pytest.mark.kv_cluster(nodes=5)
def test_the_marker_says_how_many_nodes(kv_cluster: InProcessCluster, kv_client: Client) -> None:
    assert kv_cluster.node_ids == (1, 2, 3, 4, 5)
    assert kv_client.endpoints == tuple(kv_cluster.endpoints)
    assert len(kv_client.members()) == 5


@pytest.mark.kv_cluster(nodes=1)
def test_every_test_has_a_cluster_of_its_own(kv_client: Client) -> None:
    assert kv_client.get_prefix("").count == 0


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.kv_cluster(nodes=1)
def test_of_which_nothing_is_left_for_the_next_one(kv_client: Client, number: int) -> None:
    assert kv_client.compare_and_swap("number", None, str(number))


def test_the_data_lie_where_the_test_may_look(kv_cluster: InProcessCluster, tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert kv_cluster.data_dir.is_relative_to(tmp_path)


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    (found,) = entry_points(group="pytest11", name="kvstore")
    assert found.value == "kvstore.testing.plugin"


def test_a_project_that_does_not_use_it_does_not_pay(pytester: pytest.Pytester) -> None:
    """With the plugin loaded, none of what it could start is imported; with -W error and strict markers all is well."""
    pytester.makepyfile(
        """
        import sys

        def test_nothing_is_imported():
            assert "kvstore.testing.plugin" in sys.modules
            heavy = ("grpc", "kvclient", "kvproto", "sqlite_utils", "asyncio", "kvstore.server", "kvstore.paxos")
            assert [name for name in heavy if name in sys.modules] == []
        """
    )
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "--strict-markers", "-p", "no:cacheprovider"],
        cwd=pytester.path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_marker_that_says_nothing_sensible_is_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.kv_cluster(5)
        def test_positional(kv_cluster): ...

        @pytest.mark.kv_cluster(node=5)
        def test_misspelt(kv_cluster): ...

        @pytest.mark.kv_cluster(nodes=17)
        def test_too_many(kv_cluster): ...
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(["*write @pytest.mark.kv_cluster(nodes=5)*"])
    result.stdout.fnmatch_lines(["*from 1 to 9 nodes, not 17*"])


def test_the_markers_help_names_it(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.kv_cluster(nodes=3): how many nodes the fixture kv_cluster starts"])


def test_a_test_that_fails_leaves_no_cluster_behind(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it_fails(kv_cluster, kv_client):
            kv_cluster.partition(1, 2, 3)
            kv_cluster.kill(1)
            assert kv_client.endpoints == ()
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    assert not any(thread.name == "in-process cluster" for thread in threading.enumerate())


def test_cut_off_from_each_other_no_node_answers_until_they_are_healed(
    kv_cluster: InProcessCluster, kv_client: Client
) -> None:
    kv_cluster.partition(1, 2, 3)
    with pytest.raises(KvError):
        kv_client.put("key", "value", timeout=0.5)
    kv_cluster.heal()
    kv_cluster.leader()
    kv_client.put("key", "value", timeout=30)
