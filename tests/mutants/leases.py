"""Mistakes about read leases: how long they last, who is bound by them, whose count, and what ends them."""

from typing import Final

from kvstore.paxos.follower import Follower
from kvstore.paxos.leadership import Leadership
from kvstore.paxos.lease import LeaseGrants
from kvstore.paxos.proposer import Proposer
from tests.mutants.mutant import Edit, Mutant

__all__ = ["LEASES"]

LEASES: Final[tuple[Mutant, ...]] = (
    Mutant(
        "takes no account of clock drift",
        Edit(Proposer.on_heartbeat_reply, "lease_s * (1 - self._config.clock_drift_max)", "lease_s"),
    ),
    Mutant(
        "promises another ballot while its grant runs",
        Edit(
            Follower.on_prepare,
            "if self._lease_grants.forbids(",
            "if sender == self._me and self._lease_grants.forbids(",
        ),
    ),
    Mutant(
        "stands while its own grant runs",
        Edit(Follower._stand, "if self._lease_grants.forbids(", "if False and self._lease_grants.forbids("),
        Edit(
            Follower.on_prepare,
            "if self._lease_grants.forbids(",
            "if sender != self._me and self._lease_grants.forbids(",
        ),
    ),
    Mutant(
        "forgets in a restart that it may have granted a lease",
        Edit(LeaseGrants.__init__, "self._restarted_until = restarted_until", 'self._restarted_until = float("-inf")'),
    ),
    Mutant(
        "reads by its lease while it hands over",
        Edit(Leadership.holds_lease, "if self.transferring is not None:", "if False:"),
    ),
    Mutant(
        "reads by the lease of a single follower",
        Edit(
            Leadership.holds_lease,
            'self._configurations.quorum_floor(decided_end, self._leases | {self._node_id: float("inf")})',
            'max(self._leases.values(), default=float("-inf"))',
        ),
    ),
)
