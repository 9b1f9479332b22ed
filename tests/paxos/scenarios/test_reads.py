"""Faults of linearizable reads (L7): slots that were decided, and that a read could have missed."""

from kvstore.paxos.effects import ReadReady
from kvstore.paxos.messages import Accept, Accepted, Heartbeat, Prepare, Promise
from tests.paxos.bench import Bench, ballot, config_of, entry, node, slot
from tests.paxos.world import World


def test_a_read_waits_for_a_configuration_that_phase_1_only_found() -> None:
    """α = 2; slot 0 moves the cluster from 1, 2, 3 to 4, 5, 6, who then choose slot 2 without any of the old nodes.

    1 stops. 2 and 3 have accepted slot 0 and do not know that it is decided: they elect 2 by the old configuration
    alone. Its quorum of 2 and 3 confirms reads — of a state that lacks slot 2, which 1 has acknowledged.
    """
    world = World((1, 2, 3), spare=(4, 5, 6), alpha=2, inflight_slots_max=2)
    world.elect(1)
    new = config_of(4, 5, 6, epoch=2)
    world.propose_configuration(1, new)
    world.propose(1, b"one")
    while world.nodes[node(1)].applied_end < 2:
        for n in (2, 3):
            world.persist(node(n))
        world.persist(node(1))
        index = next(i for i, w in enumerate(world.wires) if isinstance(w.message, Accept | Accepted))
        world.deliver(index)
    world.wires.clear()
    world.isolate(2)
    world.isolate(3)
    world.run_until(lambda: world.core(1).window_free > 0, within_s=0.9)
    world.propose(1, b"two")
    world.flush()
    assert world.decided_end >= 3
    assert world.nodes[node(2)].applied_end == 0
    world.isolate(1)
    world.blocked -= {(node(2), node(3)), (node(3), node(2))}
    world.run_until(lambda: any(n in (2, 3) for n in world.leaders()), within_s=5.0)
    leader = next(n for n in world.leaders() if n in (2, 3))
    read = world.read(leader)
    world.run(0.3)
    assert world.nodes[leader].reads_ready == {}, "nobody of 4, 5, 6 can be asked"
    world.heal()
    world.isolate(1)
    world.run_until(lambda: read in world.nodes[leader].reads_ready or not world.nodes[leader].reads, within_s=5.0)
    assert world.nodes[leader].reads_ready.get(read, world.decided_end) >= 3


def test_a_read_covers_slots_that_a_configuration_decided_which_was_never_asked() -> None:
    """α = 2; slot 2 is governed by node 2 alone, the slots before and after it by node 1 alone.

    1 has acknowledged slot 2 by the vote of 2, stops without a record of it, and leads again by its own promise. It
    learns slot 2 from 2 and needs nobody else from then on; but slot 2 was decided before the read came. The index
    is what another node reads by, so that 1 itself knows better by then does not help.
    """
    world = World((1,), spare=(2,), alpha=2, inflight_slots_max=2)
    world.elect(1)
    world.propose_configuration(1, config_of(2, epoch=2))
    world.flush()
    world.propose_configuration(1, config_of(1, epoch=3, learners=(2,)))
    world.run_until(lambda: world.core(1).window_free > 0, within_s=1.0)
    world.propose(1, b"two")
    while world.nodes[node(1)].applied_end < 3:
        world.persist(node(2))
        world.deliver()
    world.pass_time(0.1)
    while world.wires:
        world.deliver()
    assert world.nodes[node(2)].applied_end == 3
    world.crash(node(1))
    world.restart(node(1))
    while world.nodes[node(1)].applied_end < 2:
        world.pass_time(0.1)
        world.persist(node(1))
    world.wires[:] = [w for w in world.wires if not isinstance(w.message, Prepare)]
    read = world.read(1)
    while world.nodes[node(1)].applied_end < 3:
        world.wires[:] = [w for w in world.wires if not isinstance(w.message, Prepare)]
        if world.wires:
            world.deliver()
        else:
            world.pass_time(0.1)
    assert world.nodes[node(1)].reads_ready[read] == 3


def test_the_reported_index_covers_slots_found_late() -> None:
    """A promise that comes after the quorum's may report more: the read that is not answered yet waits for it too."""
    leader = Bench(1, promised=ballot(1, 2))
    at = leader.stand()
    leader.say(2, Promise(at, slot(0), (), None, slot(0), slot(0)))
    read_id = leader.core.confirm_leadership(leader.now)
    (beat, *_) = [e.message for e in leader.drain().messages if isinstance(e.message, Heartbeat)]
    leader.say(3, Promise(at, slot(0), (entry(0, (1, 2), "late"),), None, slot(0), slot(0)))
    assert leader.hear_back(2, beat).reads_ready == ()
    leader.accepted_by(2, at, 0)
    assert leader.accepted_by(3, at, 0).reads_ready == (ReadReady(read_id, slot(1)),)
