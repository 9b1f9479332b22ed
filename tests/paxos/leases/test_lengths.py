"""Leases of another length: a configuration is decided that differs in its lease."""

import pytest

from kvstore.paxos.messages import HeartbeatReply
from kvstore.paxos.types import Configuration, NodeId, Slot
from tests.paxos.leases.leased import DRIFT, LEASE_S, beat, is_answered, leadership, leased
from tests.paxos.world import World


def switch(world: World, lease_ms: int) -> None:
    """Decides a configuration that differs in its lease."""
    voters = world.first.voters
    world.propose_configuration(1, Configuration(2, voters, lease_ms=lease_ms))
    world.flush()


def test_a_leader_that_decides_to_do_without_leases_does_so_at_once() -> None:
    """An acceptor that restarts knows the newest configuration's lease only, and holds back no longer than that."""
    world = leased()
    assert is_answered(world, 1)
    switch(world, 0)
    assert not is_answered(world, 1)
    beat(world)
    assert not is_answered(world, 1)


def test_a_grant_that_knew_only_the_former_lease_counts_for_no_more_than_the_new_one() -> None:
    """The reply was under way while the leader decided to do without leases."""
    world = leased()
    ballot = world.core(1).status().ballot
    switch(world, 0)
    late = HeartbeatReply(ballot, 1, world.clock(1), Slot(0), LEASE_S)
    for follower in (2, 3):
        world.call(NodeId(1), lambda core, f=follower: core.receive(NodeId(f), late, world.clock(1)))  # type: ignore[misc]
    assert not is_answered(world, 1)


def test_a_longer_lease_is_granted_once_its_configuration_alone_governs() -> None:
    """α slots later, that is; until then the shorter one of both."""
    world = leased(alpha=4, inflight_slots_max=4)
    switch(world, 2000)
    beat(world)
    granted = leadership(world, 1)._leases[NodeId(2)] - world.clock(1)
    assert granted == pytest.approx(LEASE_S * (1 - DRIFT), abs=0.01)
    for number in range(6):
        world.propose(1, b"%d" % number)
        world.flush()
    beat(world)
    beat(world)
    granted = leadership(world, 1)._leases[NodeId(2)] - world.clock(1)
    assert granted == pytest.approx(2.0 * (1 - DRIFT), abs=0.11)


def test_no_lease_is_granted_that_a_restart_would_not_know_of() -> None:
    """The follower has decided the configuration, and its disk has not yet: its heartbeat replies grant nothing."""
    world = leased(alpha=1, inflight_slots_max=1)
    lagging = NodeId(3)
    world.propose_configuration(1, Configuration(2, world.first.voters, lease_ms=2000))
    while world.wires or world.persist_everywhere(among=[NodeId(1), NodeId(2)]):
        if world.wires:
            world.deliver(0)
    world.propose(1, b"after it")
    while world.wires or world.persist_everywhere(among=[NodeId(1), NodeId(2)]):
        if world.wires:
            world.deliver(0)
    world.now = world.time_at(1, leadership(world, 1).heartbeat_at) + 1e-9
    world.tick(1)
    world.wires = [wire for wire in world.wires if wire.to == lagging]
    while world.wires and world.wires[0].to == lagging:
        world.deliver(0)
    assert world.core(3).status().decided_end == 2
    (reply,) = [wire.message for wire in world.wires if isinstance(wire.message, HeartbeatReply)]
    assert reply.lease_s == 0.0
    world.flush()
    beat(world)
    assert leadership(world, 1)._leases[lagging] > world.clock(1) + 1.0
