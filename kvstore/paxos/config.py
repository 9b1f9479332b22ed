"""The constants of one node. Durations are seconds; every queue, page and window has a bound (L13)."""

from dataclasses import dataclass

from kvstore.paxos.types import NodeId

__all__ = ["PaxosConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaxosConfig:
    """``alpha`` is a constant of the cluster, fixed when it forms; the rest may differ from node to node.

    A node suspects its leader after a random time in [``election_timeout_s``, 2 · ``election_timeout_s``] of silence.
    ``announce_delay_s`` is how long a leader waits for an Accept to carry news of a decided slot before it sends a
    Heartbeat for it. ``clock_drift_max`` is by what share of a lease two nodes' clocks may drift apart (L14).
    """

    node_id: NodeId
    heartbeat_s: float = 0.1
    election_timeout_s: float = 1.0
    announce_delay_s: float = 0.005
    clock_drift_max: float = 0.1
    alpha: int = 64
    inflight_slots_max: int = 16
    page_entries_max: int = 256
    page_bytes_max: int = 1 << 20
    cached_slots_max: int = 4096
    cached_bytes_max: int = 64 << 20

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_s < self.election_timeout_s:
            raise ValueError(
                f"the heartbeat ({self.heartbeat_s * 1000:g} ms) must be shorter than the election timeout "
                f"({self.election_timeout_s * 1000:g} ms)"
            )
        if not 0 <= self.clock_drift_max < 1:
            raise ValueError(f"clock_drift_max ({self.clock_drift_max}) must be from 0 to less than 1")
        if not 1 <= self.inflight_slots_max <= self.alpha:
            raise ValueError(f"inflight_slots_max ({self.inflight_slots_max}) must be from 1 to alpha ({self.alpha})")

    @property
    def resend_s(self) -> float:
        """How long a message of phase 1 or 2 may go unanswered before it is sent again."""
        return 3 * self.heartbeat_s
