"""A node that restarts does not know which leases it granted, and holds back as if it had granted the longest."""

import pytest

from kvstore.paxos.durable import AcceptedValue, DurableState, GoverningConfiguration
from kvstore.paxos.gate import Gate
from kvstore.paxos.lease import LeaseGrants
from kvstore.paxos.types import ZERO_BALLOT, Application, Ballot, Configuration, NodeId, Slot
from tests.paxos.leases.leased import LEASE_S, beat, hurry, is_answered, leased, run_until_another_writes


@pytest.mark.parametrize("after", [0.0, 0.2])
def test_a_restarted_acceptor_hears_nobody_for_a_whole_lease(after: float) -> None:
    """Nodes 1 and 2 are the quorum of the lease; 2 forgets in a crash that it granted one, and 3 is in a hurry."""
    world = leased()
    world.block(1, 3)
    world.run(1.5)
    beat(world)
    world.now += after
    world.isolate(1)
    world.crash(NodeId(2))
    world.restart(NodeId(2))
    begun = world.now
    hurry(world, 3)
    while world.now - begun < LEASE_S - 0.002:
        world.run(0.002, step_s=0.001)
        assert world.leaders() == [NodeId(1)]
    run_until_another_writes(world, within_s=2.0 if not after else 0.95)
    assert not is_answered(world, 1)


def test_a_grant_after_a_restart_does_not_end_the_holding_back() -> None:
    """What was granted before is nobody's to release: it is not known whose it was."""
    grants = LeaseGrants(Gate(durable_promise=ZERO_BALLOT), restarted_until=10.0)
    assert grants.forbids(released=None, now=9.9)
    assert grants.grant(Ballot(3, NodeId(1)), now=9.0, until=9.5)
    assert grants.forbids(released=Ballot(3, NodeId(1)), now=9.9)
    assert grants.until == 10.0
    assert not grants.forbids(released=None, now=10.0)


def test_without_leases_a_restarted_node_holds_nothing_back() -> None:
    world = leased(lease_s=0.0)
    world.crash(NodeId(2))
    world.restart(NodeId(2))
    assert not world.core(2)._lease_grants.forbids(released=None, now=world.clock(2))


def test_a_restarted_node_holds_back_for_the_longest_lease_that_it_may_have_granted() -> None:
    """In the state are the configurations of its slots; a later one is in the log, decided or not."""
    first = Configuration(1, (NodeId(1),), lease_ms=200)
    second = Configuration(2, (NodeId(1),), lease_ms=700)
    in_state = (GoverningConfiguration(Slot(0), first),)
    accepted = {
        Slot(4): AcceptedValue(Ballot(1, NodeId(1)), second),
        Slot(5): AcceptedValue(Ballot(1, NodeId(1)), Application(b"x")),
    }
    assert DurableState(configurations=in_state).lease_s == 0.2
    assert DurableState(configurations=in_state, accepted=accepted).lease_s == 0.7
