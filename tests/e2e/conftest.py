"""Clusters of real processes. What nodes logged last is printed at the end: pytest shows it where a test failed."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from kvclient import Client

from kvstore.server.local_cluster import LocalCluster
from tests.e2e.clusters import clients_of, running


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    """Three nodes of this test's own, all serving, to be hurt at will."""
    with running(tmp_path / "cluster") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def steady_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Three nodes, all serving, which all tests of a module share because none hurts them."""
    with running(tmp_path_factory.mktemp("steady") / "cluster") as cluster:
        yield cluster


@pytest.fixture
def through(cluster: LocalCluster) -> Iterator[Mapping[int, Client]]:
    """A client for each node of ``cluster``."""
    with clients_of(cluster) as clients:
        yield clients


@pytest.fixture(scope="module")
def through_steady(steady_cluster: LocalCluster) -> Iterator[Mapping[int, Client]]:
    """A client for each node of ``steady_cluster``."""
    with clients_of(steady_cluster) as clients:
        yield clients
