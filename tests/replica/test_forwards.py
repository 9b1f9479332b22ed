"""What a leader takes of what followers forward to it."""

from kvproto.command_pb2 import CommandBatch, Entry, OpenSession

from kvstore.paxos.types import NodeId
from kvstore.replica.writes import Forwarded, Writes


def _forward(number: int, *, entries: int) -> Forwarded:
    batch = CommandBatch()
    batch.entries.extend(Entry(open_session=OpenSession(node_id=2, number=n)) for n in range(1, entries + 1))
    return Forwarded(NodeId(2), number, batch)


def test_a_forward_larger_than_the_bound_is_taken_where_nothing_else_waits() -> None:
    """Openings of sessions count nowhere at the follower, so it may send more than may wait here (seed 20010)."""
    writes = Writes(NodeId(1), 1, pending_max=2, entries_max=512, bytes_max=1 << 20, resend_s=1.0)

    assert writes.receive(_forward(1, entries=3))
    assert not writes.receive(_forward(2, entries=1)), "now too much waits"

    proposal = writes.take_batch()
    assert proposal is not None
    assert len(proposal.batch.entries) == 3
    assert writes.receive(_forward(3, entries=1))
