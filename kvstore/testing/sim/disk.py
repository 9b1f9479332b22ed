"""A node's disk: which writes are durable, which are on their way, and what a crash leaves.

Writes become durable one after the other, each all or nothing, after a delay. What lies on the disk is the list of
durable writes and nothing else: a process that starts gets a fresh log, and the production code reads them into it. The
process hears of a write only after it became durable, if it still lives.
"""

from collections import deque
from collections.abc import Callable, Mapping
from random import Random

from kvstore.paxos.durable import PromiseRecord, Write
from kvstore.paxos.types import NodeId, Slot
from kvstore.storage.memory_log import MemoryAcceptorLog, MemoryDisk
from kvstore.testing.sim.events import CommitLost, CommitPersisted, CommitStarted
from kvstore.testing.sim.scheduler import Scheduler
from kvstore.testing.sim.trace import Trace

__all__ = ["SimulatedDisk"]

_CLUSTER_ID = b"simulated clust."


class SimulatedDisk:
    """``on_durable`` hears of every write that becomes durable, whether or not the process lives to hear of it."""

    def __init__(
        self,
        node_id: NodeId,
        *,
        alpha: int,
        peers: Mapping[NodeId, str],
        scheduler: Scheduler,
        rng: Random,
        trace: Trace,
        on_durable: Callable[[NodeId, Write], None],
        commit_s: float,
    ) -> None:
        self._node_id = node_id
        self._alpha = alpha
        self._peers = dict(peers)
        self._scheduler = scheduler
        self._rng = rng
        self._trace = trace
        self._on_durable = on_durable
        self._commit_s = commit_s
        self._synced: list[Write] = []
        self._medium = MemoryDisk()
        self._log: MemoryAcceptorLog | None = None
        self._under_way: deque[tuple[Write, Callable[[], None]]] = deque()
        self._busy_until = 0.0
        self.slowness: dict[int, float] = {}
        """Faults at work, and by which factor each slows every write down; the strongest counts."""
        self.next_write_fails = False
        self.next_write_stalls_s = 0.0

    def open(self) -> MemoryAcceptorLog:
        """A fresh log that holds the durable writes: what a process finds when it starts."""
        assert self._log is None, "the last process still has the log"
        self._medium = MemoryDisk(identity=self._medium.identity, formation=self._medium.formation)
        log = MemoryAcceptorLog.open(self._medium, node_id=self._node_id, rng=self._rng)
        births = {node_id: bytes([node_id]) * 16 for node_id in self._peers} | {self._node_id: log.identity.birth_id}
        log.form(cluster_id=_CLUSTER_ID, births=births, peers=self._peers, alpha=self._alpha)
        for write in self._synced:
            log.append(write)
        self._log = log
        return log

    def commit(self, write: Write, *, then: Callable[[], None]) -> bool:
        """Begins to make ``write`` durable; ``then`` is called when it is. False where the disk refuses with an error:
        nobody knows what it holds then, and the process must end."""
        now = self._scheduler.now
        self._trace.emit(CommitStarted(now, self._node_id, write))
        self._under_way.append((write, then))
        if self.next_write_fails:
            self.next_write_fails = False
            return False
        slowness = max(self.slowness.values(), default=1.0)
        delay_s = self._commit_s * self._rng.uniform(0.5, 1.5) * slowness + self.next_write_stalls_s
        self.next_write_stalls_s = 0.0
        self._busy_until = max(self._busy_until, now) + delay_s
        log = self._log
        self._scheduler.at(self._busy_until, lambda: self._finish(log, write))
        return True

    def has(self, slot: Slot) -> bool:
        """Whether the log holds a value of ``slot``, or will soon if the process lives."""
        if slot in self._medium.newest:
            return True
        under_way = (record for write, _ in self._under_way for record in write.records)
        return any(not isinstance(record, PromiseRecord) and record.slot == slot for record in under_way)

    def lose_process(self) -> None:
        """The process ends: of the writes under way any number, the oldest first, may have reached the disk."""
        while self._under_way and self._rng.random() < 0.5:
            self._sync(reported=False)
        for write, _ in self._under_way:
            self._trace.emit(CommitLost(self._scheduler.now, self._node_id, write))
        self._under_way.clear()
        self._busy_until = 0.0
        if self._log is not None:
            self._log.close()
            self._log = None

    def _finish(self, log: MemoryAcceptorLog | None, write: Write) -> None:
        if log is not self._log or not self._under_way:
            return  # that process is gone
        assert self._under_way[0][0] is write, "writes become durable in their order"
        then = self._under_way[0][1]
        self._sync(reported=True)
        then()

    def _sync(self, *, reported: bool) -> None:
        write, _ = self._under_way.popleft()
        assert self._log is not None
        self._log.append(write)
        self._synced.append(write)
        self._trace.emit(CommitPersisted(self._scheduler.now, self._node_id, write, reported))
        self._on_durable(self._node_id, write)
