"""A world whose node 1 leads by a lease, and what all stories of leases do with it."""

from kvstore.paxos.effects import Role
from kvstore.paxos.leadership import Leadership
from kvstore.paxos.types import Application, NodeId
from tests.paxos.world import World

__all__ = ["DRIFT", "LEASE_S", "beat", "hurry", "is_answered", "leadership", "leased", "run_until_another_writes"]

LEASE_S = 0.5
DRIFT = 0.1
"""The default of PaxosConfig."""


def leased(voters: int = 3, *, lease_s: float = LEASE_S, **settings: object) -> World:
    """Node 1 leads, by a lease of everyone, granted at ``world.now``."""
    world = World(range(1, voters + 1), lease_ms=round(lease_s * 1000), **settings)  # type: ignore[arg-type]
    world.run(lease_s * 1.2)  # until nobody holds back for its restart
    world.run_until(lambda: world.leaders() != [], within_s=5.0)
    if world.leader() != 1:
        world.transfer(world.leader(), 1)
        world.run_until(lambda: world.leaders() == [NodeId(1)], within_s=5.0)
    world.run(0.3)
    beat(world)
    return world


def leadership(world: World, node_id: int) -> Leadership:
    found = world.core(node_id)._proposer._leadership
    assert found is not None
    return found


def beat(world: World) -> None:
    """The leader's next heartbeat goes out and is answered: leases are as fresh as they can be."""
    deadline = leadership(world, 1).heartbeat_at
    world.now = max(world.now, world.time_at(1, deadline) + 1e-9)
    world.tick(1)
    world.flush()


def is_answered(world: World, node_id: int) -> bool:
    """Whether a read that begins now is answered without a message from anybody; the judge says if it is stale."""
    sent = len(world.wires)
    read_id = world.read(node_id)
    answered = read_id in world.nodes[NodeId(node_id)].reads_ready
    assert answered == (len(world.wires) == sent), "it asks exactly where it may not answer"
    return answered


def hurry(world: World, *nodes: int) -> None:
    """They hear that the leader's connection broke, and doubt it."""
    for node_id in nodes:
        world.link_lost(node_id, 1)


def run_until_another_writes(world: World, *, within_s: float = 0.95) -> float:
    """Until another node leads and has decided a write; the old leader still believes in itself. Returns the time."""
    begun = world.now
    while not (others := [n for n in world.leaders() if n != 1 and world.core(n).window_free]):
        assert world.now - begun < within_s, "nobody was elected"
        world.run(0.001, step_s=0.001)
    (other,) = others
    world.propose(other, b"elsewhere")
    world.flush()
    assert Application(b"elsewhere") in world.decided.values()
    assert world.core(1).status().role is Role.LEADER, "it has not noticed"
    return world.now - begun
