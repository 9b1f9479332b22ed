"""Clusters of real processes. What nodes logged last is printed at the end: pytest shows it where a test failed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kvstore.server.local_cluster import LocalCluster
from tests.e2e.clusters import running


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
