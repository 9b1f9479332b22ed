"""Who leads as far as this node knows, when to doubt it, and whether enough others do.

A node that hears no leader asks all others first (Suspect); it raises a round only after a quorum, itself included, has
answered that it hears none either. So a node that comes back from a partition does not depose a healthy leader, and
ballots do not run away over a flapping link. Nothing here bears on safety (L14): clocks only decide when to try.
"""

from random import Random

from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.types import ZERO_BALLOT, Ballot, NodeId

__all__ = ["Election"]


class Election:
    def __init__(self, config: PaxosConfig, rng: Random, *, highest_seen: Ballot, now: float) -> None:
        self._config = config
        self._rng = rng
        self.leader: NodeId | None = None
        """Whom this node believes to lead, itself included; None where it knows of nobody."""
        self.ballot = ZERO_BALLOT
        """In which that node leads or led, or somebody stands."""
        self.highest_seen = highest_seen
        """A round has to lie above it to win."""
        self._heard_at = float("-inf")
        self.suspicion = 0
        self.doubters: dict[NodeId, None] | None = None
        """Who answered the running suspicion that it hears no leader; None while no suspicion runs."""
        self._yielded = False
        self.deadline = now
        self.wait_full(now)

    # Who leads

    def set_leader(self, leader: NodeId | None, ballot: Ballot) -> None:
        """``leader`` leads in ``ballot``; None: somebody stands in it."""
        self.leader = leader
        self.ballot = ballot
        self.saw(ballot)

    def forget_leader(self) -> None:
        """Nobody leads any more, as far as this node knows, and nobody stands."""
        self.leader = None

    def saw(self, ballot: Ballot) -> None:
        self.highest_seen = max(self.highest_seen, ballot)

    def follow(self, ballot: Ballot, now: float) -> None:
        """The leader of ``ballot`` speaks, and our promise does not forbid it."""
        # A leader that outranks it, but was never promised anything here, may be gone and its ballot with it.
        if ballot >= self.ballot or not self.hears_leader(now):
            self.set_leader(ballot.node_id, ballot)
            self.heard_leader(now)

    # What the node heard

    def heard_leader(self, now: float) -> None:
        self._heard_at = now
        self.doubters = None
        self._yielded = False
        self.wait_full(now)

    def lost_leader(self, now: float) -> None:
        """A hint that the leader is gone: doubt it at once, but ask the others all the same."""
        self._heard_at = float("-inf")
        self.wait_briefly(now)

    def hears_leader(self, now: float) -> bool:
        return now - self._heard_at < self._config.election_timeout_s

    def answered_doubt(self, now: float) -> None:
        """Another node asks and we hear no leader either: leave it the time to win.

        Once, then it is our turn: the only node that reaches a quorum may be the one that all others keep asking.
        """
        if self._yielded:
            return
        self._yielded = True
        self.deadline = max(self.deadline, now + self._config.election_timeout_s * self._rng.uniform(0.5, 1.0))

    # When to act

    def wait_at_start(self, now: float) -> None:
        """Long enough to hear a leader that is there; asking the others guards against the rest."""
        self.deadline = now + self._config.heartbeat_s * self._rng.uniform(1.5, 3.0)

    def wait_full(self, now: float) -> None:
        self.deadline = now + self._config.election_timeout_s * self._rng.uniform(1.0, 2.0)

    def wait_after_nack(self, now: float) -> None:
        """Somebody promised a higher ballot: leave its owner the time to win before trying a higher one."""
        self.deadline = now + self._config.election_timeout_s * self._rng.uniform(0.1, 0.6)

    def wait_briefly(self, now: float) -> None:
        self.deadline = now + self._config.heartbeat_s * self._rng.uniform(0.1, 1.0)

    def begin_suspicion(self, node_id: NodeId, now: float) -> int:
        """A new question to all; the answers of older ones no longer count."""
        self.suspicion += 1
        self._yielded = False
        self.doubters = {node_id: None}
        self.deadline = now + self._config.election_timeout_s * self._rng.uniform(0.5, 1.0)
        return self.suspicion

    def heard_doubt(self, node_id: NodeId, suspicion: int) -> bool:
        """Another node hears no leader either; False where that was said to an older question."""
        if suspicion != self.suspicion or self.doubters is None:
            return False
        self.doubters[node_id] = None
        return True

    def end_suspicion(self) -> None:
        self.doubters = None
