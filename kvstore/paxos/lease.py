"""Read leases: how a leader may answer reads without asking anybody (L7), where the cluster's configuration says so.

With each HeartbeatReply an acceptor promises to hear no other candidate for a while. A leader that holds such promises
of a quorum knows that nobody can have been elected beside it, so what it has decided is all that was chosen. It counts
a lease from the moment at which it *sent* the heartbeat, which lies before the acceptor's own beginning, and shorter by
the drift that two clocks may have: this is the one place where safety leans on clocks (L14), and why leases are off
unless asked for. What must hold is that two nodes' clocks run at rates that differ by less than ``clock_drift_max``
over one lease, and that no clock stands still while its process runs.

A restarted acceptor does not know what it granted, so it hears no candidate for one whole lease. A leader that hands
over stops reading by its lease first, and its successor says so to the acceptors.

A grant binds though nothing was promised. A leader's late heartbeat may come after a newer one's, and must not undo
what the newer one was granted: to lower ballots nothing is granted any more. Nor may a newer leader's heartbeat undo
what an older one still relies on: where voters have come and gone, the newer one may have been elected by others. So
nobody is granted a lease before the holder's has ended or the holder gave it up; and no Prepare is answered before, not
even in the ballot of the present promise, which may come from an Accept alone.
"""

from kvstore.paxos.gate import Gate
from kvstore.paxos.types import ZERO_BALLOT, Ballot

__all__ = ["LeaseGrants"]


class LeaseGrants:
    """The acceptor's side: until when it hears nobody but the leader of one ballot."""

    def __init__(self, gate: Gate, *, restarted_until: float) -> None:
        self._gate = gate
        self._length_known = gate.horizon
        """The write that lets a restart know how long this node's grants may be."""
        self._restarted_until = restarted_until
        self._until = float("-inf")
        self._holder = ZERO_BALLOT

    def length_changed(self) -> None:
        """A configuration that is recorded by now wants another one: it is granted once that record is durable."""
        self._length_known = self._gate.horizon

    def grant(self, ballot: Ballot, *, now: float, until: float) -> bool:
        """The leader of ``ballot`` is heard alone from now on until then.

        False where another one relies on that, or where a restart would not know yet for how long to hold back.
        """
        if ballot < self._holder or (ballot != self._holder and now < self._until):
            return False
        if not self._gate.is_durable(self._length_known):
            return False
        self._until = max(self._until, until)
        self._holder = ballot
        return True

    def hear(self, ballot: Ballot) -> None:
        """A candidate that nothing forbids: whoever held a lease has none any more."""
        self._holder = ballot

    def forbids(self, *, released: Ballot | None, now: float, ballot: Ballot | None = None) -> bool:
        """Whether a candidate must not be heard yet; ``released``: the ballot whose leader asked it to take over.

        The leader itself, in its own ``ballot``, is heard: it asks on where a new configuration brings new voters. What
        was granted before a restart nobody can release: it is not known whose it was.
        """
        return now < self._restarted_until or (now < self._until and self._holder not in (ballot, released))

    @property
    def until(self) -> float:
        return max(self._restarted_until, self._until)
