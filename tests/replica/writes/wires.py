"""What the wires of a cluster carried of its writes, and how stories lose some of it."""

from kvproto.command_pb2 import CommandBatch

from kvstore.paxos.messages import Accept
from kvstore.paxos.types import Application
from kvstore.replica.messages import Forward
from tests.replica.cluster import Cluster, Wire

__all__ = ["forwards_of", "lose_forwards", "proposed", "times_proposed"]


def proposed(cluster: Cluster) -> list[CommandBatch]:
    """Every batch that any leader sent out, each once."""
    values = {w.message.value.data: None for w in cluster.messages(Accept) if isinstance(w.message.value, Application)}
    return [CommandBatch.FromString(data) for data in values]


def times_proposed(cluster: Cluster, key: str) -> int:
    return sum(entry.put.key == key.encode() for batch in proposed(cluster) for entry in batch.entries)


def forwards_of(cluster: Cluster, key: str) -> list[Wire]:
    return [
        wire
        for wire in cluster.messages(Forward)
        if any(entry.put.key == key.encode() for entry in wire.message.batch.entries)
    ]


def lose_forwards(cluster: Cluster) -> None:
    cluster.wires = [wire for wire in cluster.wires if not isinstance(wire.message, Forward)]
