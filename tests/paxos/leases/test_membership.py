"""Where voters have come and gone, another leader may have been elected by others; a lease binds it all the same."""

from kvstore.paxos.messages import Accept, Accepted, Heartbeat, HeartbeatReply, Message, Prepare, Promise
from kvstore.paxos.types import Application, Ballot, Configuration, NodeId, Slot
from tests.paxos.leases.leased import DRIFT, LEASE_S, beat, is_answered, leased, run_until_another_writes
from tests.paxos.world import World


def heard_by_two(world: World, message: Message) -> list[Message]:
    """What node 2 answers to node 3, once its disk has it."""
    world.wires.clear()
    world.call(NodeId(2), lambda core: core.receive(NodeId(3), message, world.clock(2)))
    world.persist(NodeId(2))
    return [wire.message for wire in world.wires]


def test_a_leader_may_ask_new_voters_for_their_promise_though_they_granted_it_a_lease() -> None:
    """A learner that follows it grants as well. Once it votes, the leader's phase 1 needs its promise: the lease that
    forbids other candidates must not forbid that, or no slot is ever decided again.
    """
    world = leased(learners=(4,))
    leader = world.core(1).status()
    learner = world.core(4)
    assert learner.status().promised < leader.ballot
    assert learner._lease_grants.until > world.clock(4)
    world.wires.clear()
    prepare = Prepare(leader.ballot, leader.decided_end)
    world.call(NodeId(4), lambda core: core.receive(NodeId(1), prepare, world.clock(4)))
    world.persist(NodeId(4))
    (promise,) = [wire.message for wire in world.wires]
    assert isinstance(promise, Promise)
    assert promise.ballot == leader.ballot


def test_a_newer_leader_is_granted_no_lease_while_an_older_one_has_it() -> None:
    world = leased()
    newer = Ballot(world.core(1).status().ballot.round + 1, NodeId(3))
    assert heard_by_two(world, Heartbeat(newer, Slot(0), 1, 0.0)) == [HeartbeatReply(newer, 1, 0.0, Slot(0), 0.0)]
    assert heard_by_two(world, Prepare(newer, Slot(0))) == [], "and nothing is promised to it either"
    world.now += LEASE_S
    assert heard_by_two(world, Heartbeat(newer, Slot(0), 2, 0.0)) == [HeartbeatReply(newer, 2, 0.0, Slot(0), LEASE_S)]
    assert [type(answer) for answer in heard_by_two(world, Prepare(newer, Slot(0)))] == [Promise]


def test_who_is_bound_by_an_accept_answers_no_prepare_before_the_lease_has_ended() -> None:
    """An Accept speaks for one slot, whose voters have promised; a Prepare asks for all of them."""
    world = leased()
    newer = Ballot(world.core(1).status().ballot.round + 1, NodeId(3))
    accept = Accept(newer, Slot(0), Application(b"theirs"), Slot(0))
    assert heard_by_two(world, accept) == [Accepted(newer, Slot(0), Slot(1))]
    assert world.core(2).status().promised == newer
    assert heard_by_two(world, Prepare(newer, Slot(0))) == []
    world.now += LEASE_S
    assert [type(answer) for answer in heard_by_two(world, Prepare(newer, Slot(0)))] == [Promise]


def test_a_leader_that_former_voters_elected_waits_for_the_lease_of_the_new_ones() -> None:
    """1, 4 and 5 vote by now, and node 1 leads by their lease. Nodes 2 and 3, which do not know that this is decided,
    elect one of themselves; what it finds sends it to 4 and 5, who have just lost sight of node 1.
    """
    world = leased(spare=(4, 5), alpha=2, inflight_slots_max=2)
    world.isolate(3)
    world.propose_configuration(1, Configuration(2, (NodeId(1), NodeId(4), NodeId(5)), lease_ms=round(LEASE_S * 1000)))
    world.propose(1, b"the last that 2 accepts")
    world.flush()
    world.isolate(2)
    world.blocked -= {(NodeId(2), NodeId(3)), (NodeId(3), NodeId(2))}
    world.run_until(lambda: len(world.leaders()) == 2, within_s=5.0)
    beat(world)
    world.heal()
    world.isolate(1)
    assert run_until_another_writes(world) >= LEASE_S * (1 - DRIFT)
    assert not is_answered(world, 1)
