"""When to doubt the leader, and whether enough others do.

A node that hears no leader asks all others first (Suspect); it raises a round only after a quorum, itself included, has
answered that it hears none either. So a node that comes back from a partition does not depose a healthy leader, and
ballots do not run away over a flapping link. Nothing here bears on safety (L14): clocks only decide when to try.
"""

from random import Random

from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.types import NodeId

__all__ = ["Election"]


class Election:
    def __init__(self, config: PaxosConfig, rng: Random, *, now: float) -> None:
        self._config = config
        self._rng = rng
        self._heard_at = float("-inf")
        self.suspicion = 0
        self.doubters: dict[NodeId, None] | None = None
        """Who answered the running suspicion that it hears no leader; None while no suspicion runs."""
        self._yielded = False
        self.deadline = now
        self.wait_full(now)

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

    def end_suspicion(self) -> None:
        self.doubters = None
