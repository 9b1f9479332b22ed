"""A small world for the core: nodes with disks that forget, a network that misbehaves, and a judge that knows the laws.

Everything random comes from the caller, time moves only when it is told to, so every run replays.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from random import Random

from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.core import Paxos
from kvstore.paxos.durable import (
    AcceptRecord,
    DurableState,
    LearnRecord,
)
from kvstore.paxos.effects import Effects, Fate, Role
from kvstore.paxos.messages import (
    Decided,
    Promise,
    SnapshotOffer,
)
from kvstore.paxos.types import (
    Configuration,
    NodeId,
    ProposalId,
    ReadId,
    Slot,
    Value,
    WriteId,
)

from .judge import Disk, InFlight, Judge, Node

__all__ = ["TIMEOUT_S", "World", "cluster"]

TIMEOUT_S = 1.0
"""The election timeout, which is the default one."""


class World(Judge):
    def __init__(
        self,
        voters: Iterable[int],
        *,
        learners: Iterable[int] = (),
        spare: Iterable[int] = (),
        seed: int = 0,
        start: bool = True,
        lease_ms: int = 0,
        rates: Mapping[int, float] | None = None,
        **settings: float,
    ) -> None:
        """``spare`` nodes run but belong to no configuration yet; ``settings`` go to every node's PaxosConfig.

        ``lease_ms``: reads by a lease are on; ``rates`` says whose clocks run fast or slow.
        """
        self.first = Configuration(1, tuple(map(NodeId, voters)), tuple(map(NodeId, learners)), lease_ms=lease_ms)
        super().__init__(self.first)
        self.rng = Random(seed)
        self.now = 0.0
        self.wires: list[InFlight] = []
        self.blocked: set[tuple[NodeId, NodeId]] = set()
        self.auto_snapshot = True
        self.keep_history = False
        self.trace: list[str] | None = None
        for node_id in (*self.first.members, *map(NodeId, spare)):
            config = PaxosConfig(node_id=node_id, **settings)  # type: ignore[arg-type]
            self.nodes[node_id] = Node(config, Disk(), rate=(rates or {}).get(node_id, 1.0))
        self.alpha = next(iter(self.nodes.values())).config.alpha
        if start:
            for node_id in self.nodes:
                self.restart(node_id)

    # What a story looks at

    def clock(self, node_id: int) -> float:
        node = self.nodes[NodeId(node_id)]
        return self.now * node.rate + node.skew_s

    def time_at(self, node_id: int, clock: float) -> float:
        """When this node's clock shows that."""
        node = self.nodes[NodeId(node_id)]
        return (clock - node.skew_s) / node.rate

    def core(self, node_id: int) -> Paxos:
        return self.nodes[NodeId(node_id)].core

    @property
    def up(self) -> list[NodeId]:
        return [node_id for node_id, node in self.nodes.items() if node.paxos is not None]

    @property
    def down(self) -> list[NodeId]:
        return [node_id for node_id, node in self.nodes.items() if node.paxos is None]

    def leaders(self) -> list[NodeId]:
        return [n for n in self.up if self.core(n).status().role is Role.LEADER]

    def leader(self) -> NodeId:
        """The leader of the highest ballot."""
        leaders = self.leaders()
        assert leaders, "nobody leads"
        return max(leaders, key=lambda n: self.core(n).status().ballot)

    def log(self, node_id: int) -> list[Value]:
        """The values that this node was given as decided, from slot 0 on."""
        return [self.decided[Slot(slot)] for slot in range(self.nodes[NodeId(node_id)].applied_end)]

    # What can happen

    def restart(self, node_id: NodeId) -> None:
        node = self.nodes[node_id]
        assert node.paxos is None
        disk = node.disk
        accepted = {slot: known for slot, known in disk.newest.items() if slot >= disk.applied_end}
        state = DurableState(
            configurations=self.configurations_from(disk.applied_end),
            promised=disk.promised,
            accepted=accepted,
            first_slot=disk.first_slot,
            decided_end=disk.applied_end,
        )
        node.applied_end = disk.applied_end
        node.applied = []
        node.ballots_recovered = disk.promised
        for book in (node.proposed, node.reads, node.reads_ready):
            book.clear()
        node.reads_failed, node.lost, node.log_reads = [], [], []
        self._note(f"restart {node_id} promised={disk.promised} applied_end={disk.applied_end}")
        node.paxos = Paxos(node.config, state, rng=Random(self.rng.random()), now=self.clock(node_id))
        self.drain(node_id)

    def crash(self, node_id: NodeId, *, synced: int = 0) -> None:
        """Power loss: of the writes under way only the first ``synced`` reach the disk, unreported."""
        node = self.nodes[node_id]
        for _ in range(min(synced, len(node.disk.pending))):
            self._sync(node_id)
        node.disk.pending.clear()
        node.paxos = None
        self._note(f"crash {node_id}")

    def checkpoint(self, node_id: NodeId, *, applied_end: int | None = None) -> None:
        """The state machine becomes durable, as far as ``applied_end`` or as far as it is."""
        node = self.nodes[node_id]
        end = node.applied_end if applied_end is None else Slot(applied_end)
        assert end <= node.applied_end
        node.disk.applied_end = max(node.disk.applied_end, end)

    def compact(self, node_id: NodeId, *, first_slot: int | None = None) -> None:
        """Cuts the log where the durable state allows it (L10)."""
        node = self.nodes[node_id]
        end = node.disk.applied_end if first_slot is None else Slot(first_slot)
        assert end <= node.disk.applied_end
        if end <= node.disk.first_slot:
            return
        self._cut(node_id, end)
        node.core.compacted(first_slot=end)
        self.drain(node_id)

    def persist(self, node_id: NodeId) -> bool:
        """The oldest write under way reaches the disk, and the core hears of it. False where there is none."""
        node = self.nodes[node_id]
        if not node.disk.pending:
            return False
        write_id = self._sync(node_id)
        self.call(node_id, lambda core: core.persisted(write_id, self.clock(node_id)))
        return True

    def persist_everywhere(self, *, among: Collection[NodeId] | None = None) -> bool:
        """One write of every node (of ``among``) reaches its disk. False where there was none at all."""
        persisted = 0
        for node_id in self.up:
            if among is None or node_id in among:
                persisted += self.persist(node_id)
        return persisted > 0

    def deliver(self, index: int = 0, *, keep: bool = False) -> None:
        """Delivers one message, or loses it where the link is cut or its receiver is down; ``keep`` duplicates it."""
        wire = self.wires[index] if keep else self._take(index)
        node = self.nodes.get(wire.to)
        if node is None or node.paxos is None or (wire.sender, wire.to) in self.blocked:
            return
        self._note(f"{wire.sender} → {wire.to}: {wire.message}")
        if isinstance(wire.message, Promise) and wire.message.ballot.node_id == wire.to:
            self.hear_promise(wire.sender, wire.message)
        self.call(wire.to, lambda core: core.receive(wire.sender, wire.message, self.clock(wire.to)))
        if isinstance(wire.message, SnapshotOffer) and self.auto_snapshot:
            self.install_snapshot(wire.sender, wire.to)

    def drop(self, index: int = 0) -> None:
        self._take(index)

    def install_snapshot(self, source: NodeId, target: NodeId) -> None:
        """Streams the state of ``source``, which becomes durable at ``target``, and then takes effect."""
        if self.nodes[source].paxos is None:
            return
        end = self.nodes[source].applied_end
        node = self.nodes[target]
        if end <= node.applied_end:
            return
        self._note(f"snapshot {source} → {target}: {end}")
        node.disk.applied_end = end
        self._cut(target, end)
        node.applied_end = end
        configurations = self.configurations_from(end)
        node.core.installed(decided_end=end, configurations=configurations, now=self.clock(target))
        node.core.compacted(first_slot=end)
        self.drain(target)

    def pass_time(self, seconds: float) -> None:
        """The clock moves; every node that is due ticks."""
        self.now += seconds
        for node_id in self.up:
            deadline = self.core(node_id).next_deadline()
            if deadline is not None and deadline <= self.clock(node_id):
                self.tick(node_id)

    def tick(self, node_id: int) -> None:
        self.call(NodeId(node_id), lambda core: core.tick(self.clock(node_id)))

    def propose(self, node_id: int, data: bytes) -> ProposalId:
        """Raises what the core raises: NotLeader, WindowFull."""
        node = self.nodes[NodeId(node_id)]
        self._note(f"propose {node_id}: {data!r}")
        try:
            proposal_id = node.core.propose(data, self.clock(node_id))
            assert proposal_id not in node.proposed
            return proposal_id
        finally:
            self.drain(NodeId(node_id))

    def propose_configuration(self, node_id: int, configuration: Configuration) -> ProposalId:
        self._note(f"propose {node_id}: {configuration}")
        try:
            return self.core(node_id).propose_configuration(configuration, self.clock(node_id))
        finally:
            self.drain(NodeId(node_id))

    def read(self, node_id: int) -> ReadId:
        """Begins a linearizable read: the judge notes what it must see at least (L7)."""
        node = self.nodes[NodeId(node_id)]
        demanded = self.decided_end
        read_id = node.core.confirm_leadership(self.clock(node_id))
        node.reads[read_id] = demanded
        self.drain(NodeId(node_id))
        return read_id

    def transfer(self, node_id: int, target: int) -> None:
        self._note(f"transfer {node_id} → {target}")
        self.call(NodeId(node_id), lambda core: core.transfer(NodeId(target), self.clock(node_id)))

    def link_lost(self, node_id: int, lost: int) -> None:
        self.call(NodeId(node_id), lambda core: core.link_lost(NodeId(lost), self.clock(node_id)))

    def block(self, one: int, other: int) -> None:
        """Cuts both directions between two nodes."""
        self.blocked |= {(NodeId(one), NodeId(other)), (NodeId(other), NodeId(one))}

    def isolate(self, node_id: int) -> None:
        for other in self.nodes:
            if other != node_id:
                self.block(node_id, other)

    def heal(self) -> None:
        self.blocked.clear()

    # Helpers that let time and messages flow

    def call(self, node_id: NodeId, act: Callable[[Paxos], None]) -> None:
        act(self.nodes[node_id].core)
        self.drain(node_id)

    def flush(self, *, steps_max: int = 100_000) -> None:
        """Delivers and persists everything, in order, until nothing moves; time stands still."""
        for _ in range(steps_max):
            if self.wires:
                self.deliver(0)
            elif not self.persist_everywhere():
                return
        raise AssertionError(f"still busy after {steps_max} steps: {self.wires[:5]}")

    def run(self, seconds: float, *, step_s: float = 0.01) -> None:
        """A healthy network for a while: messages arrive at once, and every node ticks when it is due."""
        end = self.now + seconds
        self.flush()
        while self.now < end:
            deadlines = [self.time_at(n, d) for n in self.up if (d := self.core(n).next_deadline()) is not None]
            soonest = min(deadlines, default=end)
            self.pass_time(min(max(soonest - self.now, step_s / 10), max(end - self.now, 0.0) + 1e-9))
            self.flush()

    def run_until(self, done: Callable[[], bool], *, within_s: float) -> float:
        """Runs until ``done``; returns how long it took."""
        begun = self.now
        self.flush()
        while not done():
            assert self.now - begun < within_s, f"not within {within_s} s"
            self.run(0.02)
        return self.now - begun

    def elect(self, node_id: int) -> None:
        """Makes ``node_id`` lead a healthy cluster in which nobody leads yet."""
        core = self.core(node_id)
        deadline = core.next_deadline()
        assert deadline is not None
        self.now = max(self.now, self.time_at(node_id, deadline) + 1e-9)
        self.tick(node_id)
        self.flush()
        assert core.status().role is Role.LEADER

    # The judge

    def drain(self, node_id: NodeId) -> Effects:
        node = self.nodes[node_id]
        core = node.core
        core.check_invariants()
        effects = core.take_effects()
        core.check_invariants()
        if effects.write is not None:
            assert effects.write.records
            for record in effects.write.records:
                if isinstance(record, AcceptRecord):
                    assert record.slot >= node.disk.first_slot, f"{record} below the first slot (L4)"
            node.disk.pending.append(effects.write)
        for envelope in effects.messages:
            assert envelope.to != node_id
            self.judge_message(node_id, envelope.message)
            self.wires.append(InFlight(node_id, envelope.to, envelope.message))
        for decided in effects.decided:
            self.judge_decided(node_id, decided)
        node.lost += effects.proposals_lost
        for lost in effects.proposals_lost:
            if lost.fate is Fate.NOT_APPLIED and lost.proposal_id in node.proposed:
                assert node.proposed[lost.proposal_id] not in self.chosen.values()
        for ready in effects.reads_ready:
            demanded = node.reads.pop(ready.read_id)
            assert ready.index >= demanded, f"a read at {ready.index} misses what is decided below {demanded} (L7)"
            node.reads_ready[ready.read_id] = ready.index
        for failed in effects.reads_failed:
            del node.reads[failed.read_id]
            node.reads_failed.append(failed.read_id)
        for log_read in effects.log_reads:
            node.log_reads.append(log_read)
            entries = node.disk.read_decided(log_read.start, log_read.end)[:16]
            # A state that outran its log in a crash leaves a hole in it: what lies there exists only in the state.
            offer = SnapshotOffer(log_read.end, log_read.end)
            answer = Decided(entries, log_read.end) if entries else offer
            self.wires.append(InFlight(node_id, log_read.requester, answer))
        assert core.status().decided_end == node.applied_end
        if self.keep_history:
            node.history.append(effects)
        return effects

    def _sync(self, node_id: NodeId) -> WriteId:
        """The oldest write reaches the disk: its votes count from now on, whether or not anyone hears of them."""
        disk = self.nodes[node_id].disk
        write = disk.sync()
        for record in write.records:
            if isinstance(record, AcceptRecord):
                self.count_vote(node_id, record)
            if isinstance(record, AcceptRecord | LearnRecord) and record.slot < self.nodes[node_id].applied_end:
                assert record.value == self.chosen[record.slot], f"{record} overwrites what is decided (L5)"
        return write.write_id

    def _cut(self, node_id: NodeId, first_slot: Slot) -> None:
        disk = self.nodes[node_id].disk
        disk.first_slot = max(disk.first_slot, first_slot)
        for slot in [s for s in disk.newest if s < first_slot]:
            del disk.newest[slot]

    def _take(self, index: int) -> InFlight:
        return self.wires.pop(index)

    def _note(self, event: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.now:9.3f} {event}")


def cluster(*, size: int = 3, seed: int = 0, leader: int = 1, **settings: float) -> World:
    """Node ``leader`` leads already."""
    world = World(range(1, size + 1), seed=seed, **settings)
    world.elect(leader)
    world.run(0.3)
    return world
