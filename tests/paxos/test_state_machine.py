"""Five cores under whatever hypothesis thinks of: it looks for the shortest story in which a law is broken.

Any message may arrive at any time, twice or never; any node may stop between any two steps and come back with what its
disk had. The judge of ``World`` checks L1 to L6 on everything that a core lets out; the invariants below add what can
only be seen from above, after each step.
"""

import contextlib

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kvstore.paxos.errors import NotLeader, WindowFull
from kvstore.paxos.types import ZERO_BALLOT, Ballot, Configuration, NodeId, Slot

from .world import World

NODES = tuple(NodeId(number) for number in range(1, 6))
IN_FLIGHT_MAX = 60

nodes = st.sampled_from(NODES)
quorums = st.sets(nodes, min_size=3)
groups = st.sets(nodes)
anything = st.integers(0, IN_FLIGHT_MAX - 1)


class FiveCores(RuleBasedStateMachine):
    """Small limits, so that windows close, pages end and caches overflow within a few steps."""

    @initialize(
        seed=st.integers(0, 3), terms=st.lists(st.tuples(nodes, quorums, st.integers(1, 2), groups), max_size=3)
    )
    def begin(self, seed: int, terms: list[tuple[NodeId, set[NodeId], int, set[NodeId]]]) -> None:
        """A past of up to three leaders: who stood, whom it asked, how many slots it proposed, whom they reached."""
        self.world = World(NODES, seed=seed, alpha=4, inflight_slots_max=2, page_entries_max=1, cached_slots_max=2)
        self.proposals = 0
        self.promised: dict[NodeId, Ballot] = dict.fromkeys(NODES, ZERO_BALLOT)
        for node_id, voters, slots, reached in terms:
            self.stand(node_id, voters)
            for _ in range(slots):
                self.propose(node_id)
            self.talk(reached | {node_id})
            self.world.wires.clear()

    # Clients

    @rule(node_id=nodes)
    def propose(self, node_id: NodeId) -> None:
        if node_id not in self.world.up:
            return
        self.proposals += 1
        try:
            self.world.propose(node_id, b"%d" % self.proposals)
        except (NotLeader, WindowFull):
            assert self.world.core(node_id).window_free == 0

    @precondition(lambda self: self.world.leaders())
    @rule()
    def propose_to_the_leader(self) -> None:
        self.propose(self.world.leader())

    @precondition(lambda self: self.world.leaders())
    @rule(voters=quorums)
    def reconfigure(self, voters: set[NodeId]) -> None:
        self.proposals += 1
        members = tuple(sorted(voters)), tuple(n for n in NODES if n not in voters)
        with contextlib.suppress(NotLeader, WindowFull):
            self.world.propose_configuration(self.world.leader(), Configuration(self.proposals + 1, *members))

    @precondition(lambda self: self.world.leaders())
    @rule(successor=nodes)
    def transfer(self, successor: NodeId) -> None:
        leader = self.world.leader()
        if successor != leader:
            self.world.transfer(leader, successor)

    # The network

    @precondition(lambda self: self.world.wires)
    @rule(index=anything)
    def deliver(self, index: int) -> None:
        self.world.deliver(index % len(self.world.wires))

    @precondition(lambda self: self.world.wires)
    @rule(count=st.integers(2, 20))
    def deliver_in_order(self, count: int) -> None:
        for _ in range(min(count, len(self.world.wires))):
            self.world.deliver()

    @precondition(lambda self: self.world.wires)
    @rule(node_id=nodes)
    def deliver_all_to(self, node_id: NodeId) -> None:
        while (index := next((i for i, w in enumerate(self.world.wires) if w.to == node_id), None)) is not None:
            self.world.deliver(index)

    @precondition(lambda self: self.world.wires)
    @rule(index=anything)
    def duplicate(self, index: int) -> None:
        self.world.deliver(index % len(self.world.wires), keep=True)

    @precondition(lambda self: self.world.wires)
    @rule(index=anything)
    def drop(self, index: int) -> None:
        self.world.drop(index % len(self.world.wires))

    @precondition(lambda self: self.world.wires)
    @rule()
    def drop_all(self) -> None:
        self.world.wires.clear()

    @rule(one=nodes, other=nodes)
    def cut(self, one: NodeId, other: NodeId) -> None:
        """In one direction only."""
        if one != other:
            self.world.blocked.add((one, other))

    @precondition(lambda self: self.world.blocked)
    @rule()
    def heal(self) -> None:
        self.world.heal()

    @precondition(lambda self: self.world.up)
    @rule(node_id=nodes, lost=nodes)
    def notice_a_lost_link(self, node_id: NodeId, lost: NodeId) -> None:
        if node_id in self.world.up and node_id != lost:
            self.world.link_lost(node_id, lost)

    # Disks

    @rule(node_id=nodes)
    def persist(self, node_id: NodeId) -> None:
        self.world.persist(node_id)

    @rule()
    def persist_everywhere(self) -> None:
        self.world.persist_everywhere()

    @precondition(lambda self: self.world.up)
    @rule(node_id=nodes, synced=st.integers(0, 2))
    def crash(self, node_id: NodeId, synced: int) -> None:
        """What was not reported persisted is lost, but for the first ``synced`` writes: nobody heard of those."""
        if node_id in self.world.up:
            self.world.crash(node_id, synced=synced)

    @precondition(lambda self: self.world.down)
    @rule(index=anything)
    def restart(self, index: int) -> None:
        self.world.restart(self.world.down[index % len(self.world.down)])

    @rule(node_id=nodes, share=st.sampled_from((0.5, 1.0)), cut=st.booleans())
    def checkpoint(self, node_id: NodeId, share: float, cut: bool) -> None:
        """The state machine becomes durable up to somewhere, and the log may be cut there (L10)."""
        if node_id in self.world.up:
            self.world.checkpoint(node_id, applied_end=int(self.world.nodes[node_id].applied_end * share))
            if cut:
                self.world.compact(node_id)

    # Time

    @rule(seconds=st.sampled_from((0.005, 0.1, 0.5, 2.0)))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @precondition(lambda self: self.world.up)
    @rule(node_id=nodes)
    def wake(self, node_id: NodeId) -> None:
        """Time passes until this node has something to do, though others had to act before (L14)."""
        if node_id in self.world.up and (deadline := self.world.core(node_id).next_deadline()) is not None:
            self.world.now = max(self.world.now, deadline)
            self.world.tick(node_id)

    # Longer stretches, so that a few steps reach far

    @rule(group=quorums)
    def talk(self, group: set[NodeId]) -> None:
        """Messages arrive and writes end within ``group`` until it is quiet; nobody else gets anything."""
        for _ in range(100):
            within = (i for i, w in enumerate(self.world.wires) if w.to in group and w.sender in group)
            if (index := next(within, None)) is not None:
                self.world.deliver(index)
            elif not self.world.persist_everywhere(among=group):
                return

    @rule(node_id=nodes, group=quorums)
    def stand(self, node_id: NodeId, group: set[NodeId]) -> None:
        """``node_id`` loses patience, again and again, and ``group`` hears it out."""
        for _ in range(5):
            if node_id in self.world.leaders():
                return
            self.wake(node_id)
            for member in self.world.up:
                if member in group:
                    self.world.tick(member)
            self.talk(group | {node_id})

    @precondition(lambda self: self.world.leaders())
    @rule(group=groups, slots=st.integers(1, 2), index=anything)
    def work(self, group: set[NodeId], slots: int, index: int) -> None:
        """Somebody who believes to lead proposes, and ``group`` hears of it."""
        leaders = self.world.leaders()
        for _ in range(slots):
            self.propose(leaders[index % len(leaders)])
        self.talk(group | {leaders[index % len(leaders)]})

    # What must hold after each step

    @invariant()
    def the_network_has_a_limit(self) -> None:
        """No law: what is on its way for too long is lost."""
        del self.world.wires[: max(0, len(self.world.wires) - IN_FLIGHT_MAX)]

    @invariant()
    def each_core_is_consistent(self) -> None:
        for node_id in self.world.up:
            self.world.core(node_id).check_invariants()

    @invariant()
    def promises_only_rise(self) -> None:
        """L1, across crashes as well; and no core reports a promise that its disk does not have (L2)."""
        for node_id, node in self.world.nodes.items():
            assert node.disk.promised >= self.promised[node_id]
            self.promised[node_id] = node.disk.promised
            if node.paxos is not None:
                assert node.core.status().promised <= node.disk.promised

    @invariant()
    def one_leader_per_ballot(self) -> None:
        """L3: and only the node that the ballot names."""
        for node_id in self.world.leaders():
            assert self.world.core(node_id).status().ballot.node_id == node_id

    @invariant()
    def logs_agree(self) -> None:
        """L5, L6: every replica's decided values are a prefix of the chosen ones; no slot of them is a hole."""
        world = self.world
        for node_id, node in world.nodes.items():
            assert world.log(node_id) == [world.chosen[Slot(slot)] for slot in range(node.applied_end)]
            assert [d.slot for d in node.applied] == sorted({d.slot for d in node.applied})


NORMAL = settings(
    max_examples=400,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def test_five_cores_keep_the_laws() -> None:
    """The same examples in each run; ``long`` looks for new ones."""
    run_state_machine_as_test(FiveCores, settings=NORMAL)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_five_cores_keep_the_laws_at_length() -> None:
    run_state_machine_as_test(
        FiveCores, settings=settings(NORMAL, max_examples=2000, stateful_step_count=120, derandomize=False)
    )
