"""Read leases: how a leader may answer reads without asking anybody (L7), where the cluster's configuration says so.

With each HeartbeatReply an acceptor promises to hear no other candidate for a while. A leader that holds such promises
of a quorum knows that nobody can have been elected beside it, so what it has decided is all that was chosen. It counts
a lease from the moment at which it *sent* the heartbeat, which lies before the acceptor's own beginning, and shorter by
the drift that two clocks may have: this is the one place where safety leans on clocks (L14), and why leases are off
unless asked for. What must hold is that two nodes' clocks run at rates that differ by less than ``clock_drift_max``
over one lease, and that no clock stands still while its process runs.

A restarted acceptor does not know what it granted, so it hears no candidate for one whole lease. A leader that hands
over stops reading by its lease first, and its successor says so to the acceptors.
"""

from kvstore.paxos.types import Ballot

__all__ = ["LeaseGrants"]


class LeaseGrants:
    """The acceptor's side: until when it hears nobody but the leader of one ballot."""

    def __init__(self, *, restarted_until: float) -> None:
        self._until = restarted_until
        self._holder: Ballot | None = None
        """None: after a restart, whoever it was."""

    def grant(self, ballot: Ballot, *, until: float) -> None:
        """The leader of ``ballot`` is heard alone from now on until then."""
        self._until = max(self._until, until)
        self._holder = ballot

    def forbids(self, *, released: Ballot | None, now: float) -> bool:
        """Whether a candidate must not be heard yet; ``released``: the ballot whose leader asked it to take over."""
        return now < self._until and (released is None or released != self._holder)

    @property
    def until(self) -> float:
        return self._until
