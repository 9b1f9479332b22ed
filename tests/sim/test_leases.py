"""Reads by a lease in whole clusters, and the judge that watches them (L14)."""

import pytest
from kvproto.etcd.rpc_pb2 import RangeResponse

from kvstore.paxos.durable import PromiseRecord
from kvstore.paxos.effects import ReadReady
from kvstore.paxos.messages import Heartbeat, HeartbeatReply, Prepare, Promise, Transfer
from kvstore.paxos.types import Ballot, NodeId, ReadId, Slot
from kvstore.testing.checking.model import Range
from kvstore.testing.sim.clock import Clock, wander
from kvstore.testing.sim.laws import Broken
from kvstore.testing.sim.scheduler import Scheduler
from kvstore.testing.sim.world import World

from .stories import ask, elect, read, started, write
from .test_judges import B1, B2, N1, N2, N3, S0, Told

LEASE_S = 0.5


# Stories


def leased(**settings: object) -> tuple[World, NodeId]:
    """A world and its leader, whose lease is fresh."""
    world = started(lease_ms=round(LEASE_S * 1000), clock_drift=0.1, **settings)
    leader = elect(world)
    write(world, leader, b"k", b"old")
    world.run_for(0.3)
    return world, leader


def test_a_leader_with_a_lease_answers_without_a_quorum() -> None:
    """Even while nobody hears it. A follower's read asks the leader, and no one else either."""
    world, leader = leased()
    before = world.consensus.leases.reads
    follower = next(n for n in world.node_ids if n != leader)
    assert read(world, follower, b"k") == b"old"
    world.isolate(leader)
    assert read(world, leader, b"k") == b"old"
    assert world.consensus.leases.reads == before + 2


def test_a_leader_without_a_lease_asks_a_quorum() -> None:
    world = started()
    leader = elect(world)
    write(world, leader, b"k", b"1")
    assert read(world, leader, b"k") == b"1"
    assert world.consensus.leases.reads == 0


def test_nobody_is_elected_beside_a_lease_and_nothing_is_read_by_it_afterwards() -> None:
    """Cut off from all others, which know at once that its connections broke."""
    world, leader = leased()
    others = [n for n in world.node_ids if n != leader]
    cut_at = world.scheduler.now
    world.isolate(leader)
    for other in others:
        world.network.break_connection(leader, other, hint_after_s=0.0)
    assert world.run_until(lambda: any(n in others for n in world.leaders()), within_s=world.config.liveness_bound_s)
    last_heartbeat_at = cut_at - world.config.heartbeat_s * 1.1
    assert world.scheduler.now >= last_heartbeat_at + LEASE_S / 1.05
    write(world, others[0], b"k", b"new")
    before = world.consensus.leases.reads
    late = ask(world, leader, Range(b"k"))
    world.run_for(0.5)
    assert not late.replies
    assert world.consensus.leases.reads == before
    world.heal()
    assert world.run_until(lambda: bool(late.replies), within_s=world.config.liveness_bound_s)
    assert isinstance(late.reply, RangeResponse)
    assert [kv.value for kv in late.reply.kvs] == [b"new"]


def test_a_cluster_that_was_restarted_waits_for_the_leases_that_it_may_have_granted() -> None:
    """Nobody remembers; so nobody is elected for one lease, and then somebody is."""
    world, _ = leased()
    for node_id in world.node_ids:
        world.crash(node_id, power_lost=True)
    for node_id in world.node_ids:
        world.restart(node_id)
    began = world.scheduler.now
    assert world.run_until(lambda: world.leader() is not None, within_s=world.config.liveness_bound_s)
    assert world.scheduler.now - began >= LEASE_S / 1.05


def test_a_handover_waits_for_no_lease() -> None:
    world, leader = leased()
    began = world.scheduler.now
    world.processes[leader].hand_over()
    assert world.run_until(lambda: any(n != leader for n in world.leaders()), within_s=1.0)
    assert world.scheduler.now - began < 0.1


def test_a_clock_that_wanders_keeps_within_its_drift_and_changes_its_mind() -> None:
    """How long it ran is the sum of its seconds, whatever process read it and where that began to count."""
    world = World(1, started().config)
    scheduler = Scheduler()
    clock = Clock(scheduler)
    rates: list[float] = []

    def set_rate(rate: float) -> None:
        clock.set_rate(rate)
        rates.append(rate)

    wander(scheduler, world.rng("clock"), set_rate, drift=0.05, each_s=1.0)
    while scheduler.now < 50.0:
        scheduler.step()
        clock.begin(float(len(rates)))
    assert len(set(rates)) > 10
    assert {0.95, 1.05} < set(rates)
    assert 0.95 * scheduler.now < clock.ran_s < 1.05 * scheduler.now


# The judge


@pytest.fixture
def told() -> Told:
    """Node 1 leads, and has taken a lease of one second from node 2."""
    told = Told()
    told.leads(B1)
    grants(told, N2)
    return told


def grants(told: Told, grantor: NodeId, *, ballot: Ballot = B1, read_round: int = 1) -> None:
    """The reply to a heartbeat leaves now and is taken at once."""
    leader = ballot.node_id
    told.judge.lets_out(leader, Heartbeat(ballot, S0, read_round, 0.0))
    reply = HeartbeatReply(ballot, read_round, 0.0, S0, 1.0)
    told.judge.lets_out(grantor, reply)
    told.judge.takes(leader, grantor, reply)


def reads(told: Told, leader: NodeId = N1) -> None:
    """A read comes and is answered at once: no quorum can have confirmed it."""
    told.judge.asks_to_confirm(leader, ReadId(1))
    told.judge.read_is_ready(leader, ReadReady(ReadId(1), S0), decided_before=S0)


def promises(told: Told, node_id: NodeId, ballot: Ballot) -> None:
    told.durable(node_id, PromiseRecord(ballot))
    told.judge.lets_out(node_id, Promise(ballot, S0, (), None, S0, S0))


def test_a_read_by_a_lease_that_runs_is_right_and_by_one_that_has_ended_is_not(told: Told) -> None:
    told.ran_s = 0.9
    reads(told)
    assert told.judge.leases.reads == 1
    told.ran_s = 1.1
    with pytest.raises(Broken, match="L14"):
        reads(told)


def test_a_reply_counts_from_when_it_left_however_late_it_is_taken_and_only_where_it_is(told: Told) -> None:
    told.ran_s = 1.1
    late = HeartbeatReply(B1, 1, 0.0, S0, 1.0)
    told.judge.takes(N1, N2, late)
    with pytest.raises(Broken, match="L14"):
        reads(told)
    told.judge.lets_out(N1, Heartbeat(B1, S0, 2, 0.0))
    told.judge.lets_out(N2, HeartbeatReply(B1, 2, 0.0, S0, 1.0))  # and is lost
    with pytest.raises(Broken, match="L14"):
        reads(told)


def test_who_hands_over_reads_by_its_lease_no_more(told: Told) -> None:
    told.judge.lets_out(N1, Transfer(B1))
    with pytest.raises(Broken, match="L14"):
        reads(told)


def test_who_granted_a_lease_neither_promises_nor_stands_while_it_runs(told: Told) -> None:
    """Not even after a restart. Once it has ended it may."""
    higher = Ballot(2, N3)
    told.judge.process_started(N2, promised=B1, decided_end=S0)
    told.ran_s = 0.9
    with pytest.raises(Broken, match="L14"):
        promises(told, N2, higher)
    told.durable(N2, PromiseRecord(Ballot(3, N2)))
    with pytest.raises(Broken, match="L14"):
        told.judge.lets_out(N2, Prepare(Ballot(3, N2), S0))
    told.ran_s = 1.0
    promises(told, N2, Ballot(4, N3))


def test_who_granted_a_lease_may_promise_whom_its_holder_asked_to_take_over(told: Told) -> None:
    told.judge.lets_out(N1, Transfer(B1))
    promises(told, N2, B2)


def test_a_lease_of_an_older_leader_binds_though_a_newer_one_has_been_granted_one(told: Told) -> None:
    """That one may have been elected by a configuration in which node 2 has no vote."""
    newer = Ballot(2, N3)
    told.durable(N3, PromiseRecord(newer))
    told.ran_s = 0.5
    grants(told, N2, ballot=newer)
    with pytest.raises(Broken, match="L14"):
        promises(told, N2, newer)
    told.ran_s = 1.0
    promises(told, N2, newer)


def test_a_read_that_nobody_confirmed_or_granted_breaks_the_law_of_reads() -> None:
    """Where no lease was ever granted there is none to judge: L7."""
    told = Told()
    told.leads(B1)
    told.judge.lets_out(N1, Heartbeat(B1, Slot(0), 1, 0.0))
    with pytest.raises(Broken, match="L7"):
        reads(told)
