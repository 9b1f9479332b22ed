"""Random faults from a seed, then a calm: safety is judged all along, liveness once the faults have stopped."""

from random import Random

from kvstore.paxos.effects import Role
from kvstore.paxos.errors import NotLeader, WindowFull
from kvstore.paxos.messages import Transfer
from kvstore.paxos.types import Configuration, NodeId, Slot

from .world import World

__all__ = ["Chaos"]


class Chaos:
    """One run. ``reconfigure`` also swaps voters, among seven nodes of which five vote.

    ``leases``: reads by a lease are on, and clocks drift as far as they may; nor do they jump then.
    """

    def __init__(
        self, seed: int, *, nodes: int | None = None, reconfigure: bool | None = None, leases: bool = False
    ) -> None:
        self.rng = rng = Random(seed)
        voters = nodes or rng.choice([1, 3, 3, 4, 5, 5])
        self.reconfigure = rng.random() < 0.4 if reconfigure is None else reconfigure
        alpha = rng.choice([2, 4, 8])
        self.leases = leases
        self.world = World(
            range(1, voters + 1),
            spare=(6, 7) if self.reconfigure else (),
            seed=seed,
            alpha=alpha,
            inflight_slots_max=rng.randint(1, alpha),
            page_entries_max=rng.choice([1, 2, 256]),
            cached_slots_max=rng.choice([8, 16, 4096]),
            lease_ms=self._lease_ms(),
            # The slowest by no more than a tenth slower than the fastest: clock_drift_max.
            rates={node_id: rng.choice([0.95, 1.0, 1.05]) for node_id in range(1, 8)} if leases else None,
        )
        self.counter = 0
        self.epoch = 1
        self.reads = 0
        self.steps = 0

    def _change_weather(self) -> None:
        """Some faults show only where others are absent, so each stretch of a run has its own mixture."""
        rng = self.rng
        self.chance_of_crash = rng.choice([0.0, 0.0, 0.05, 0.3])
        self.chance_of_cut = rng.choice([0.0, 0.0, 0.2, 1.0])
        self.chance_of_loss = rng.choice([0.0, 0.02, 0.2])
        self.chance_of_transfer = rng.choice([0.0, 0.02, 0.2])
        self.time_steps = rng.choice([[0.001, 0.02], [0.001, 0.02, 0.1], [0.02, 0.1, 0.1, 0.5]])
        self.burst = rng.choice([1, 2, 10, 30])
        self.disk_speed = rng.choice([0.1, 0.5, 0.9])
        self.unordered = rng.choice([0.0, 0.02, 0.3])
        if rng.random() < 0.5:
            self.world.heal()

    def step(self) -> None:
        rng, world = self.rng, self.world
        if self.steps % 100 == 0:
            self._change_weather()
        self.steps += 1
        if self.leases and rng.random() < 0.01:
            self._coup()
        dice = rng.random()
        if dice < 0.55:
            for _ in range(rng.randint(1, self.burst)):
                if world.wires:
                    self._network()
        elif dice < 0.72:
            for node_id in world.up:
                if rng.random() < self.disk_speed:
                    world.persist(node_id)
        elif dice < 0.80:
            world.pass_time(rng.choice(self.time_steps))
            if not self.leases and rng.random() < 0.1:
                for node_id in rng.sample(list(world.nodes), rng.randint(1, len(world.nodes))):
                    world.nodes[node_id].skew_s += rng.uniform(0.1, 2.0)
        elif dice < 0.90:
            self._client()
        elif dice < 0.92:
            if rng.random() < self.chance_of_cut:
                self._links()
        elif dice < 0.96:
            if world.up and rng.random() < self.chance_of_crash:
                world.crash(rng.choice(world.up), synced=rng.randint(0, 2))
            elif world.down and rng.random() < 0.5:
                world.restart(rng.choice(world.down))
        else:
            self._housekeeping()

    def _network(self) -> None:
        rng, world = self.rng, self.world
        # Mostly nearly in order, sometimes wildly late.
        near = min(len(world.wires), 4)
        index = rng.randrange(len(world.wires) if rng.random() < self.unordered else near)
        fate = rng.random()
        if fate < self.chance_of_loss:
            world.drop(index)
        else:
            world.deliver(index, keep=rng.random() < 0.05)
        if len(world.wires) > 300:
            world.drop(rng.randrange(len(world.wires)))

    def _client(self) -> None:
        rng, world = self.rng, self.world
        nodes = world.leaders() or world.up
        if not nodes:
            return
        node_id = rng.choice(nodes)
        try:
            kind = rng.random()
            if kind < 0.65:
                self.counter += 1
                world.propose(node_id, b"%d" % self.counter)
            elif kind < 0.85:
                self.reads += 1
                world.read(node_id)
            elif rng.random() < self.chance_of_transfer and len(world.up) > 1:
                world.transfer(node_id, rng.choice([n for n in world.up if n != node_id]))
            elif self.reconfigure:
                world.propose_configuration(node_id, self._new_configuration())
        except (NotLeader, WindowFull):
            pass

    def _new_configuration(self) -> Configuration:
        self.epoch += 1
        members = self.rng.sample(list(self.world.nodes), self.rng.randint(1, len(self.world.nodes)))
        split = self.rng.randint(1, len(members))
        voters, learners = tuple(sorted(members[:split])), tuple(members[split:])
        return Configuration(self.epoch, voters, learners, lease_ms=self._lease_ms())

    def _lease_ms(self) -> int:
        return self.rng.choice([0, 300, 900, 900]) if self.leases else 0

    def _links(self) -> None:
        rng, world = self.rng, self.world
        kind = rng.random()
        nodes = list(world.nodes)
        if kind < 0.5:
            world.heal()
        elif kind < 0.65 and len(nodes) > 1:
            one, other = rng.sample(nodes, 2)
            world.blocked.add((one, other))
        elif kind < 0.75:
            world.isolate(rng.choice(nodes))
        elif world.up:
            world.link_lost(rng.choice(world.up), rng.choice(nodes))

    def _coup(self) -> None:
        """A leader is cut off at the height of its lease, and everybody hurries to replace it while it is read from."""
        rng, world = self.rng, self.world
        world.heal()
        if rng.random() < 0.3:  # a lease of no more than a quorum
            world.isolate(rng.choice(list(world.nodes)))
        world.run(rng.uniform(0.1, 1.5))
        if not world.leaders():
            return
        old = world.leader()
        others = [node_id for node_id in world.up if node_id != old]
        if others and rng.random() < 0.3:
            world.transfer(old, rng.choice(others))
            for index in [i for i, wire in enumerate(world.wires) if isinstance(wire.message, Transfer)]:
                world.deliver(index, keep=True)
        world.heal()
        world.isolate(old)
        if others and rng.random() < 0.4:
            restarted = rng.choice(others)
            world.crash(restarted)
            world.restart(restarted)
        for node_id in others:
            world.link_lost(node_id, old)
        for _ in range(30):
            world.run(rng.uniform(0.002, 0.06), step_s=0.002)
            self._client()
            if old in world.leaders():
                self.reads += 1
                world.read(old)

    def _housekeeping(self) -> None:
        rng, world = self.rng, self.world
        if not world.up:
            return
        node_id = rng.choice(world.up)
        node = world.nodes[node_id]
        world.checkpoint(node_id, applied_end=rng.randint(0, node.applied_end))
        if rng.random() < 0.5:
            world.compact(node_id, first_slot=rng.randint(0, node.disk.applied_end))

    def calm(self, *, within_s: float = 12.0) -> None:
        """The faults stop. A leader emerges, everyone decides everything, and new proposals go through."""
        world = self.world
        world.heal()
        for node_id in world.down:
            world.restart(node_id)
        world.run_until(self._settled, within_s=within_s)
        leader = world.leader()
        before = world.core(leader).status().decided_end
        for _ in range(3):
            self.counter += 1
            world.run_until(lambda: any(world.core(n).status().window_free for n in world.leaders()), within_s=3.0)
            world.propose(world.leader(), b"%d" % self.counter)
            world.run(0.2)
        assert world.core(world.leader()).status().decided_end >= before + 3
        world.run_until(self._settled, within_s=3.0)

    def _settled(self) -> bool:
        """One leader that every member follows; all members have decided everything."""
        world = self.world
        leaders = world.leaders()
        if not leaders:
            return False
        leader = world.leader()
        end = world.core(leader).status().decided_end
        if end < world.decided_end or end < max((s + 1 for s in world.chosen), default=0):
            return False
        members = [n for g in world.configurations_from(Slot(end)) for n in g.configuration.members if n in world.nodes]
        statuses = [world.core(NodeId(n)).status() for n in members]
        return all(
            s.decided_end == end and (s.leader == leader or s.role is Role.LEADER) for s in statuses
        ) and not any(world.nodes[n].reads for n in world.leaders())
