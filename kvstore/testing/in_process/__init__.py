"""A real cluster inside this process, for tests that hurt it."""

from kvstore.testing.in_process.cluster import ClusterError, InProcessCluster, NodeFailed

__all__ = ["ClusterError", "InProcessCluster", "NodeFailed"]
