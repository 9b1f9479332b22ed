"""The judge of read leases (L14): whether they run is told by the clocks of those who granted them, in true time.

A grant begins when its HeartbeatReply leaves the acceptor. It runs for the seconds that it names, as that acceptor's
clock counts them, whatever becomes of the process. Two things are held against it:

- **Who granted** a lease to a leader neither promises nor stands in a higher ballot while the grant runs, unless that
  leader has asked somebody to take over. To accept in a higher ballot is no such promise: its leader needed those of
  others, and tells nobody.
- **Who reads** without a quorum's confirmation has taken grants of a quorum that run at that moment, each by itself,
  and has not begun to hand over.

Neither asks what a core believes about its leases.
"""

from collections.abc import Callable, Collection
from typing import Final

from kvstore.paxos.messages import HeartbeatReply, Prepare, Promise, Transfer
from kvstore.paxos.types import Ballot, NodeId
from kvstore.testing.sim.events import AnyMessage
from kvstore.testing.sim.laws import Ledger

__all__ = ["LeaseJudge"]

_ROUNDING_S: Final = 1e-9
"""Of two sums of seconds that should be equal."""


class LeaseJudge:
    """``ran_s``: how many seconds a node's clock has counted since the world began. Grants end at a reading of it."""

    def __init__(self, ledger: Ledger, *, ran_s: Callable[[NodeId], float]) -> None:
        self._ledger = ledger
        self._ran_s = ran_s
        self._granted: dict[NodeId, dict[Ballot, float]] = {}
        """To which leaders' ballots each node granted a lease, and until when."""
        self._replies: dict[tuple[NodeId, Ballot, int], float] = {}
        """Until when a node granted by its first reply to a round."""
        self._taken: dict[Ballot, dict[NodeId, float]] = {}
        """What the leader of a ballot has been granted, as far as it knows."""
        self._handed_over: dict[Ballot, None] = {}
        self.reads = 0
        """How many were answered by a lease alone."""

    # What leaves a node, and what it takes

    def lets_out(self, node_id: NodeId, message: AnyMessage) -> None:
        match message:
            case HeartbeatReply(ballot=ballot, read_round=read_round, lease_s=lease_s) if lease_s > 0:
                until = self._ran_s(node_id) + lease_s
                self._replies.setdefault((node_id, ballot, read_round), until)
                self._granted.setdefault(node_id, {})[ballot] = until
            case Transfer(ballot):
                self._handed_over[ballot] = None
            case Promise(ballot=ballot) | Prepare(ballot=ballot):
                self._hears_candidate(node_id, ballot)
            case _:
                pass

    def takes(self, sender: NodeId, reply: HeartbeatReply) -> None:
        """The leader takes a reply out of its inbox."""
        until = self._replies.get((sender, reply.ballot, reply.read_round))
        if until is not None:
            taken = self._taken.setdefault(reply.ballot, {})
            taken[sender] = max(until, taken.get(sender, until))

    # What they may do

    def _hears_candidate(self, node_id: NodeId, ballot: Ballot) -> None:
        for holder, until in self._granted.get(node_id, {}).items():
            if holder >= ballot or holder in self._handed_over:
                continue
            self._ledger.checked["L14"] += 1
            left_s = until - self._ran_s(node_id)
            if left_s > _ROUNDING_S:
                self._ledger.broken(
                    "L14",
                    f"node {node_id} hears the candidate of {ballot}; its lease to {holder} has {left_s:g} s left",
                )

    def were_granted(self, ballot: Ballot) -> bool:
        """Whether any lease ever came to the leader of ``ballot``."""
        return ballot in self._taken

    def read_is_ready(
        self, node_id: NodeId, ballot: Ballot, *, is_enough: Callable[[Collection[NodeId]], bool]
    ) -> None:
        """The leader of ``ballot`` answers a read that no quorum confirmed."""
        self.reads += 1
        self._ledger.checked["L14"] += 1
        left_s = {grantor: until - self._ran_s(grantor) for grantor, until in self._taken[ballot].items()}
        running = [grantor for grantor, left in left_s.items() if left > -_ROUNDING_S]
        if ballot in self._handed_over:
            self._ledger.broken("L14", f"node {node_id} reads by the lease of {ballot}, which it is handing over")
        if not is_enough((node_id, *running)):
            self._ledger.broken(
                "L14", f"node {node_id} reads by leases of {sorted(running)} alone; seconds left of all: {left_s}"
            )
