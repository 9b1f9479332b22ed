"""The pytest plugin ``kvstore``: a real cluster for a test, and a client of it.

    def test_a_write_survives_the_leader(kv_cluster, kv_client):
        kv_client.put("greeting", "hello")
        kv_cluster.kill(kv_cluster.leader())
        assert kv_client.get("greeting").value == b"hello"

pytest loads this module in every project that has kvstore installed. Therefore it imports nothing of kvstore, not even
indirectly, before a test asks for a fixture: no time is lost, and whatever measures coverage sees the imports.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kvclient import Client

    from kvstore.testing.in_process import InProcessCluster

__all__ = ["kv_client", "kv_cluster", "pytest_configure"]

_NODES = 3


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"kv_cluster(nodes={_NODES}): how many nodes the fixture kv_cluster starts")


@pytest.fixture
def kv_cluster(request: pytest.FixtureRequest, tmp_path: Path) -> "Iterator[InProcessCluster]":
    """An in-process cluster of three nodes, or of as many as ``@pytest.mark.kv_cluster(nodes=...)`` says, all serving.

    It is this test's own: see ``InProcessCluster`` for what can be done to it.
    """
    nodes = _nodes_wanted(request)

    from kvstore.testing.in_process import InProcessCluster  # noqa: PLC0415  see above

    with InProcessCluster(tmp_path / "kv-cluster", nodes=nodes) as cluster:
        yield cluster


@pytest.fixture
def kv_client(kv_cluster: "InProcessCluster") -> "Iterator[Client]":
    """A client that knows all nodes of ``kv_cluster``."""
    from kvclient import Client  # noqa: PLC0415  see above

    with Client(kv_cluster.endpoints) as client:
        yield client


def _nodes_wanted(request: pytest.FixtureRequest) -> int:
    marker = request.node.get_closest_marker("kv_cluster")
    if marker is None:
        return _NODES
    nodes = marker.kwargs.get("nodes", _NODES)
    if marker.args or set(marker.kwargs) - {"nodes"} or not isinstance(nodes, int):
        raise pytest.UsageError(f"write @pytest.mark.kv_cluster(nodes=5), not {marker}")
    return nodes
