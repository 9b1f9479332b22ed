"""What must hold of a cluster after anything that happened to it, checked on its answers and on its stopped disks.

A writer's record says what the cluster promised (``load.Write``); the checks here compare it with what every node
answers, with what every node's disk holds, and the disks with each other. Each runs in time linear in the writes.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from kvproto.command_pb2 import CommandBatch
from kvproto.etcd import rpc_pb2 as rpc

from kvstore.mvcc import Store, open_state
from kvstore.paxos.types import Application, NodeId, Slot, Value
from kvstore.storage import SqliteAcceptorLog
from tests.e2e.load import Fate, Write

__all__ = ["NodeDisk", "check_disks_agree", "check_order", "check_read_back", "check_rows", "read_disk"]

_OPS_MAX = 128
_LOG_PAGE_BYTES = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDisk:
    """``decided`` has the values of the slots below ``applied_end``; ``rows`` are (revision, key, value)."""

    node_id: int
    applied_end: int
    state_hash: bytes
    decided: list[Value]
    rows: list[tuple[int, bytes, bytes]]


def read_disk(directory: Path, node_id: int) -> NodeDisk:
    """All that a stopped node knows. The log is proved whole on the way."""
    connection = open_state(directory / "state.db")
    try:
        store = Store(connection)
        applied_end, state_hash = store.applied_end, store.state_hash
        rows = connection.execute("SELECT revision, key, value FROM revisions WHERE version > 0 ORDER BY id").fetchall()
    finally:
        connection.close()
    log = SqliteAcceptorLog.open(directory, node_id=NodeId(node_id))
    try:
        decided: list[Value] = []
        while len(decided) < applied_end:
            page = log.read_decided(Slot(len(decided)), Slot(applied_end), bytes_max=_LOG_PAGE_BYTES)
            assert page, f"node {node_id} applied slot {len(decided)} and its log does not have it"
            decided += [entry.value for entry in page]
    finally:
        log.close()
    return NodeDisk(node_id=node_id, applied_end=applied_end, state_hash=state_hash, decided=decided, rows=rows)


def check_disks_agree(disks: Sequence[NodeDisk]) -> None:
    """The logs are equal slot by slot (L5), the states at equal applied slots (L8), and the logs give these states."""
    reference = max(disks, key=lambda disk: disk.applied_end)
    for disk in disks:
        for slot, (one, other) in enumerate(zip(reference.decided, disk.decided, strict=False)):
            assert one == other, (
                f"slot {slot}: node {reference.node_id} decided {one}, node {disk.node_id} {other} (L5)"
            )
    applied = {disk.node_id: disk.applied_end for disk in disks}
    assert len(set(applied.values())) == 1, f"nobody writes, and yet some lag behind: {applied}"
    hashes = {disk.node_id: disk.state_hash.hex() for disk in disks}
    assert len(set(hashes.values())) == 1, f"the states differ at slot {reference.applied_end}: {hashes}"
    replayed = _replayed(reference.decided)
    assert replayed == reference.state_hash, (
        f"the log makes the state {replayed.hex()}, the nodes have {reference.state_hash.hex()}"
    )


def _replayed(decided: Sequence[Value]) -> bytes:
    """The hash of the state that these slots make, in one go and without any restart."""
    connection = sqlite3.connect(":memory:")
    try:
        store = Store(connection)
        store.begin()
        for slot, value in enumerate(decided):
            store.apply(slot, CommandBatch.FromString(value.data) if isinstance(value, Application) else None)
        store.commit()
        return store.state_hash
    finally:
        connection.close()


def check_order(writes: Sequence[Write]) -> None:
    """No two acknowledged writes share a revision, and one that began after another had ended has a later one."""
    acknowledged = [write for write in writes if write.fate is Fate.ACKNOWLEDGED]
    by_revision: dict[int, Write] = {}
    for write in acknowledged:
        other = by_revision.setdefault(write.revision, write)
        assert other is write, f"two writes were acknowledged at one revision: {other} and {write}"
    ended = sorted(acknowledged, key=lambda write: write.returned)
    newest, position = None, 0
    for write in sorted(acknowledged, key=lambda write: write.invoked):
        while ended[position].returned < write.invoked:
            if newest is None or ended[position].revision > newest.revision:
                newest = ended[position]
            position += 1
        assert newest is None or newest.revision < write.revision, f"{write} began after {newest} had ended"


def check_read_back(endpoint: str, writes: Sequence[Write]) -> int:
    """Every acknowledged write is what this node answers for its key at its revision. Returns how many it asked for."""
    wanted = [(write, key) for write in writes if write.fate is Fate.ACKNOWLEDGED for key in write.keys]
    with grpc.insecure_channel(endpoint) as channel:
        read = channel.unary_unary("/etcdserverpb.KV/Txn", rpc.TxnRequest.SerializeToString, rpc.TxnResponse.FromString)
        for some in _batches(wanted):
            request = rpc.TxnRequest(
                success=[
                    rpc.RequestOp(request_range=rpc.RangeRequest(key=key, revision=write.revision, serializable=True))
                    for write, key in some
                ]
            )
            for (write, key), answer in zip(some, read(request, timeout=60).responses, strict=True):
                found = [(kv.value, kv.mod_revision) for kv in answer.response_range.kvs]
                assert found == [(write.value, write.revision)], f"{endpoint} has {found} for {key!r} of {write}"
    return len(wanted)


def _batches(wanted: list[tuple[Write, bytes]]) -> Iterator[list[tuple[Write, bytes]]]:
    for start in range(0, len(wanted), _OPS_MAX):
        yield wanted[start : start + _OPS_MAX]


def check_rows(disk: NodeDisk, writes: Sequence[Write]) -> None:
    """Acknowledged writes are there once, unknown ones at most once, those not done never, and nothing else is."""
    rows: dict[bytes, list[tuple[int, bytes]]] = defaultdict(list)
    for revision, key, value in disk.rows:
        rows[value].append((revision, key))
    for write in writes:
        found = rows.pop(write.value, [])
        revisions = {revision for revision, _ in found}
        whole = sorted(key for _, key in found) == sorted(write.keys) and len(revisions) == 1
        match write.fate:
            case Fate.ACKNOWLEDGED:
                assert whole, f"node {disk.node_id} has {found} of {write}"
                assert revisions == {write.revision}, f"node {disk.node_id} has {found} of {write}"
            case Fate.UNKNOWN:
                assert whole or not found, f"node {disk.node_id} has {found} of {write}"
            case Fate.NOT_DONE:
                assert not found, f"node {disk.node_id} has {found} of {write}"
    assert not rows, f"node {disk.node_id} has values that nobody wrote: {sorted(rows)[:5]}"
