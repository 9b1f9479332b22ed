"""States with slots that no log has any more: nobody can go on with them, and a simulation takes them back."""

import pytest
from kvproto.etcd.rpc_pb2 import PutResponse

from kvstore.paxos.types import NodeId, Slot
from kvstore.testing.checking.model import Put
from kvstore.testing.sim import Event, Simulation, SimulationConfig, World, WorldConfig
from kvstore.testing.sim.events import ProcessCrashed
from kvstore.testing.sim.unlearnable import who_must_forget

from .stories import ask, elect, read, write

_SLOW = 1
"""The number under which a disk is slow by hand."""


def only_a_state_has_the_end(world: World) -> NodeId:
    """A leader decides ten writes by the others' disks, and dies while its own is still at the first; nobody has heard
    of the last decision. It comes back, and the next leader needs its promise. Gives back the old leader."""
    old = elect(world)
    write(world, old, b"k", b"before")
    assert world.run_until(lambda: world.caught_up(world.node_ids), within_s=1.0)
    world.processes[old].disk.slowness[_SLOW] = 1e6
    for number in range(10):
        assert isinstance(write(world, old, b"k", b"%d" % number).reply, PutResponse)
    world.crash(old)
    world.processes[old].disk.slowness.clear()
    other, late = (n for n in world.node_ids if n != old)
    assert max(world.states.applied_end(n) for n in (other, late)) < world.states.applied_end(old)
    world.partition((old, other), (late,))
    world.restart(old)
    world.run_for(world.config.liveness_bound_s)
    world.heal()
    return old


def test_a_slot_that_only_a_state_has_is_decided_again_once_that_state_is_lost() -> None:
    """Until then nobody gets on, and writes wait. Nothing that was answered is lost: the laws of sessions, reads and
    states hold all the way, and so does liveness after the heal."""
    config = SimulationConfig(
        world=WorldConfig(inline_commits=False), plan=(), safety_s=60.0, clients=1, keys=1, think_s=1000.0
    )
    simulation = Simulation(1, config)
    simulation.step()
    world = simulation.world
    old = only_a_state_has_the_end(world)
    end = world.states.applied_end(old)
    assert not world.processes[old].disk.has(Slot(end - 1))
    waiting = ask(world, next(n for n in world.node_ids if n != old), Put(b"late", b"1"))
    assert not world.run_until(lambda: world.caught_up(world.node_ids), within_s=world.config.liveness_bound_s)
    crashes: list[Event] = []
    simulation.trace.subscribe(lambda event: crashes.append(event) if isinstance(event, ProcessCrashed) else None)
    simulation.run()
    assert [(e.node, e.applied_end) for e in crashes if isinstance(e, ProcessCrashed)] == [(old, 0)]
    assert world.states.applied_end(old) >= end
    assert isinstance(waiting.reply, PutResponse)
    assert [read(world, node_id, b"k") for node_id in world.node_ids] == [b"9"] * 3


N1, N2, N3 = NODES = (NodeId(1), NodeId(2), NodeId(3))


@pytest.mark.parametrize(
    ("ends", "logs", "forgetting"),
    [
        pytest.param((5, 3, 3), ((3, 4), (), ()), (), id="its own log has them"),
        pytest.param((5, 5, 3), ((3,), (4,), ()), (), id="one log has the one, another the other"),
        pytest.param((5, 5, 5), ((), (), ()), (), id="nobody lacks them"),
        pytest.param(
            (5, 3, 3), ((0, 1, 2, 3), (0, 1, 2, 3, 4), (4,)), (N1,), id="who has not decided a slot does not pass it on"
        ),
        pytest.param((5, 5, 3), ((3,), (3,), (0, 1, 2, 3, 4)), (N1, N2), id="all that know it forget"),
        pytest.param((5, 4, 4), ((0, 1, 2), (0, 1, 2, 3), ()), (N1,), id="who knows less may still know enough"),
        pytest.param((5, 4, 4), ((2,), (0, 1, 3), (0, 1, 3)), (N1, N2, N3), id="whose log was needed for other slots"),
    ],
)
def test_who_must_forget(
    ends: tuple[int, ...], logs: tuple[tuple[int, ...], ...], forgetting: tuple[NodeId, ...]
) -> None:
    """As few as will do, so that every slot that somebody lacks is in the log of somebody that decided it."""
    by_node = dict(zip(NODES, logs, strict=True))

    def has(node_id: NodeId, slot: Slot) -> bool:
        return slot in by_node[node_id]

    assert who_must_forget(dict(zip(NODES, ends, strict=True)), members=NODES, has=has) == forgetting


def test_nobody_is_asked_that_is_no_member() -> None:
    """The log of one that has left helps nobody."""
    ends = {N1: 2, N2: 2, N3: 0}
    assert who_must_forget(ends, members=(N2, N3), has=lambda node_id, _: node_id == N1) == (N1, N2)
    assert who_must_forget(ends, members=(N1, N3), has=lambda node_id, _: node_id == N1) == ()
