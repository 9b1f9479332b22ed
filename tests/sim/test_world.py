"""The world by hand: what it simulates behaves as the real thing would."""

import pytest
from kvproto.etcd.rpc_pb2 import PutResponse, RangeResponse

from kvstore.paxos.effects import Role
from kvstore.replica.messages import Forward
from kvstore.testing.checking.history import Failed, Unknown
from kvstore.testing.checking.model import Put, Range
from kvstore.testing.sim import Event
from kvstore.testing.sim.events import (
    CommitLost,
    CommitPersisted,
    DropCause,
    MessageDelivered,
    MessageDropped,
    MessageDuplicated,
    ProcessCrashed,
    ProcessStarted,
)
from kvstore.testing.sim.kill_switch import KILL_POINTS
from kvstore.testing.sim.network import Weather

from .stories import ask, elect, read, started, write


def test_a_write_through_any_node_is_read_through_every_other() -> None:
    """Forwarded to the leader, decided by a quorum, applied everywhere."""
    world = started(nodes=5)
    elect(world)
    for node_id in world.node_ids:
        assert isinstance(write(world, node_id, b"k", b"by %d" % node_id).reply, PutResponse)
        for reader in world.node_ids:
            assert read(world, reader, b"k") == b"by %d" % node_id


def test_the_world_goes_on_without_a_crashed_leader_which_catches_up_later() -> None:
    """A majority elects another leader; the old one comes back as a follower and learns what it missed."""
    world = started()
    first = elect(world)
    write(world, first, b"k", b"1")
    world.crash(first)
    second = elect(world)
    assert second != first
    write(world, second, b"k", b"2")
    world.restart(first)
    assert world.run_until(lambda: world.caught_up(world.node_ids), within_s=world.config.liveness_bound_s)
    assert read(world, first, b"k", serializable=True) == b"2"
    assert world.processes[first].status().role is Role.FOLLOWER


def test_a_refused_connection_is_certain_and_a_killed_node_leaves_doubt() -> None:
    """Who never reached a node knows that nothing happened; who was waiting for it does not."""
    world = started()
    leader = elect(world)
    waiting = ask(world, leader, Put(b"k", b"1"))
    sent = world.trace.counts["MessageSent"]
    assert world.run_until(lambda: world.trace.counts["MessageSent"] > sent, within_s=1.0)
    world.crash(leader)
    late = ask(world, leader, Put(b"k", b"2"))
    assert world.run_until(lambda: bool(waiting.replies and late.replies), within_s=1.0)
    assert isinstance(waiting.reply, Unknown)
    assert isinstance(late.reply, Failed)


def test_a_paused_leader_answers_no_read_from_the_past() -> None:
    """What it was asked before the pause is answered after it from a state that has what others decided (L7)."""
    world = started()
    leader = elect(world)
    write(world, leader, b"k", b"old")
    reading = ask(world, leader, Range(b"k"))
    world.pause(leader)
    others = [n for n in world.node_ids if n != leader]
    assert world.run_until(lambda: any(n in others for n in world.leaders()), within_s=world.config.liveness_bound_s)
    write(world, others[0], b"k", b"new")
    world.resume(leader)
    assert world.run_until(lambda: bool(reading.replies), within_s=world.config.liveness_bound_s)
    reply = reading.reply
    assert isinstance(reply, RangeResponse)
    assert [kv.value for kv in reply.kvs] == [b"new"]


def test_a_minority_decides_nothing_and_the_majority_does() -> None:
    """A partition in two: writes on the small side wait until it has healed."""
    world = started(nodes=5)
    leader = elect(world)
    small = (leader, leader % 5 + 1)
    large = tuple(n for n in world.node_ids if n not in small)
    world.partition(small, large)
    stuck = ask(world, leader, Put(b"k", b"small side"))
    assert world.run_until(lambda: any(n in large for n in world.leaders()), within_s=world.config.liveness_bound_s)
    assert isinstance(write(world, large[0], b"k", b"large side").reply, PutResponse)
    world.run_for(5.0)
    assert not any(isinstance(reply, PutResponse) for reply in stuck.replies)
    world.heal()
    assert world.run_until(lambda: world.caught_up(world.node_ids), within_s=world.config.liveness_bound_s)
    assert read(world, small[1], b"k") is not None
    world.check_histories()


def test_a_power_loss_may_take_state_back_and_the_log_brings_it_again() -> None:
    """The state's file is not synced with every commit: an older one is found, and the rest is decided anew (L8)."""
    lost = 0
    for seed in range(1, 9):
        world = started(seed=seed, checkpoint_chance=0.2)
        leader = elect(world)
        for number in range(20):
            write(world, leader, b"k", b"%d" % number)
        follower = next(n for n in world.node_ids if n != leader)
        assert world.run_until(lambda: world.caught_up(world.node_ids), within_s=1.0)  # noqa: B023  called at once
        before = world.states.applied_end(follower)
        world.crash(follower, power_lost=True)
        world.restart(follower)
        lost += world.states.applied_end(follower) < before
        assert world.run_until(lambda: world.caught_up(world.node_ids), within_s=world.config.liveness_bound_s)  # noqa: B023
        assert read(world, follower, b"k", serializable=True) == b"19"
    assert lost > 0


def test_a_killed_process_finds_the_state_that_it_committed() -> None:
    """Without a power loss nothing that was committed is taken back."""
    world = started()
    leader = elect(world)
    write(world, leader, b"k", b"1")
    applied_end = world.states.applied_end(leader)
    world.crash(leader)
    world.restart(leader)
    assert world.states.applied_end(leader) == applied_end
    assert read(world, leader, b"k", serializable=True) == b"1"


@pytest.mark.parametrize("inline", [True, False])
def test_a_crash_loses_writes_that_are_under_way_or_leaves_them_unreported(inline: bool) -> None:
    """Whether the last write is on the disk, nobody can tell but the disk; what is there is there at the next start."""
    fates = {"lost": 0, "kept": 0}
    for seed in range(1, 17):
        world = started(seed=seed, commit_s=0.05, inline_commits=inline)
        events: list[Event] = []
        world.trace.subscribe(events.append)
        leader = elect(world)
        ask(world, leader, Put(b"k", b"1"))
        begun = world.trace.counts["CommitStarted"]
        assert world.run_until(lambda: world.trace.counts["CommitStarted"] > begun, within_s=5.0)  # noqa: B023
        world.crash(leader)
        lost = [e for e in events if isinstance(e, CommitLost)]
        kept = [e for e in events if isinstance(e, CommitPersisted) and not e.reported]
        assert bool(lost) != bool(kept)
        fates["lost" if lost else "kept"] += 1
        world.restart(leader)
        assert world.run_until(lambda: world.caught_up(world.node_ids), within_s=world.config.liveness_bound_s)  # noqa: B023
    assert min(fates.values()) > 0


@pytest.mark.parametrize("point", KILL_POINTS)
def test_a_process_can_die_at_every_named_point_of_a_turn(point: str) -> None:
    """Wherever it dies, the others go on, and it comes back whole (L9)."""
    world = started()
    leader = elect(world)
    died: list[bool] = []
    world.processes[leader].kill_at(point, 2, then=lambda: died.append(True))
    for number in range(5):
        ask(world, leader, Put(b"k", b"%d" % number), timeout_s=1.0)
        world.run_for(0.05)
    assert world.run_until(lambda: bool(died), within_s=5.0)
    assert leader not in world.up
    other = elect(world)
    write(world, other, b"k", b"after")
    world.restart(leader)
    assert world.run_until(lambda: world.caught_up(world.node_ids), within_s=world.config.liveness_bound_s)
    assert read(world, leader, b"k") == b"after"


def test_weather_does_what_it_says() -> None:
    """Lanes that lose, duplicate, delay and hold back: each until it is over, and in its direction only."""
    world = started(nodes=5, election_timeout_s=100.0, heartbeat_s=0.05)
    leader = elect(world)
    others = [n for n in world.node_ids if n != leader]
    weathers = [Weather(loss=1.0), Weather(duplicate=1.0), Weather(delay_s=2.0), Weather(clogged=True)]
    for fault, (node_id, weather) in enumerate(zip(others, weathers, strict=True), 1):
        world.network.lay(fault, leader, node_id, weather)
    events: list[Event] = []
    world.trace.subscribe(events.append)
    begun = world.scheduler.now
    world.run_for(1.0)
    by_loss, by_copies, by_delay, by_clog = others
    assert not [e for e in events if isinstance(e, MessageDelivered) and e.to == by_loss]
    assert {e.cause for e in events if isinstance(e, MessageDropped) and e.to == by_loss} == {DropCause.LOSS}
    assert [e for e in events if isinstance(e, MessageDuplicated) and e.to == by_copies]
    assert not [
        e for e in events if isinstance(e, MessageDelivered) and e.to in (by_delay, by_clog) and e.sent_at > begun
    ]
    assert [e for e in events if isinstance(e, MessageDelivered) and e.to == leader]
    for fault in range(1, 5):
        world.network.clear(fault)
    world.run_for(2.0)
    held = [e for e in events if isinstance(e, MessageDelivered) and e.to == by_clog and e.sent_at < begun + 1.0]
    assert [e.number for e in held] == sorted(e.number for e in held)
    assert len(held) > 10
    assert [e for e in events if isinstance(e, MessageDelivered) and e.to == by_loss]


def test_what_is_forwarded_twice_is_applied_once() -> None:
    """Every message comes twice, forwarded writes and refusals among them: each write counts once (L12)."""
    world = started()
    leader = elect(world)
    follower, other = (n for n in world.node_ids if n != leader)
    for sender, to in world.network.lanes:
        world.network.lay(1, sender, to, Weather(duplicate=1.0))
    copied: list[type] = []
    world.trace.subscribe(lambda e: copied.append(type(e.message)) if isinstance(e, MessageDuplicated) else None)
    for number in range(10):
        write(world, follower, b"k", b"%d" % number)
    assert copied.count(Forward) >= 10
    reply = ask(world, other, Range(b"k"))
    assert world.run_until(lambda: bool(reply.replies), within_s=1.0)
    assert isinstance(reply.reply, RangeResponse)
    assert [(kv.value, kv.version) for kv in reply.reply.kvs] == [(b"9", 10)]
    world.check_histories()


def test_a_reset_loses_what_is_on_its_way_and_is_noticed() -> None:
    """Both ends hear of it, and the connection comes back."""
    world = started()
    leader = elect(world)
    other = next(n for n in world.node_ids if n != leader)
    up, lost = world.trace.counts["LinkUp"], world.trace.counts.get("LinkLost", 0)
    world.network.break_connection(leader, other, hint_after_s=0.001)
    assert not world.network.is_connected(leader, other)
    world.run_for(0.2)
    assert world.trace.counts["LinkLost"] == lost + 2
    assert world.trace.counts["LinkUp"] == up + 2
    assert world.network.is_connected(leader, other)


def test_clocks_that_run_apart_or_jump_move_liveness_only() -> None:
    """A node whose clock is far ahead may stand too early; nobody reads or decides anything wrong (L14)."""
    world = started(nodes=5)
    elect(world)
    for number, process in enumerate(world.processes.values()):
        process.set_clock_rate((0.5, 2.0, 1.0, 1.5, 0.7)[number])
    for number in range(30):
        process = world.processes[world.node_ids[number % 5]]
        process.jump_clock(0.3)
        ask(world, process.node_id, Put(b"k", b"%d" % number), timeout_s=2.0)
        ask(world, process.node_id, Range(b"k"), timeout_s=2.0)
        world.run_for(0.1)
    for process in world.processes.values():
        process.set_clock_rate(1.0)
    elect(world)
    assert world.run_until(lambda: world.caught_up(world.node_ids), within_s=world.config.liveness_bound_s)


def test_a_disk_that_fails_ends_the_process() -> None:
    """Nobody knows what such a disk holds: the process never tries again."""
    world = started()
    leader = elect(world)
    events: list[Event] = []
    world.trace.subscribe(events.append)
    world.processes[leader].disk.next_write_fails = True
    asked = ask(world, leader, Put(b"k", b"1"), timeout_s=5.0)
    assert world.run_until(lambda: leader not in world.up, within_s=1.0)
    assert [e.why for e in events if isinstance(e, ProcessCrashed)] == ["its disk failed"]
    assert world.run_until(lambda: bool(asked.replies), within_s=5.0)
    assert isinstance(asked.reply, Unknown)
    world.restart(leader)
    assert [e.incarnation for e in events if isinstance(e, ProcessStarted)] == [2]
    assert world.run_until(lambda: world.caught_up(world.node_ids), within_s=world.config.liveness_bound_s)


def test_members_come_and_go() -> None:
    """A node that belonged to nothing becomes a voter and catches up; the old leader leaves, and others go on."""
    world = started(nodes=4, voters=3, alpha=4, inflight_slots_max=2)
    leader = elect(world)
    write(world, leader, b"k", b"before")
    world.reconfigure(leader, voters=world.node_ids)
    for number in range(6):
        write(world, leader, b"k", b"%d" % number)
    assert world.run_until(lambda: world.caught_up(world.node_ids), within_s=world.config.liveness_bound_s)
    assert world.consensus.members() == world.node_ids
    others = [n for n in world.node_ids if n != leader]
    world.reconfigure(leader, voters=others)
    for number in range(6):
        ask(world, others[number % 3], Put(b"k", b"%d" % number), timeout_s=1.0)
        world.run_for(0.5)
    assert world.run_until(lambda: list(world.consensus.members()) == others, within_s=world.config.liveness_bound_s)
    world.crash(leader)
    assert elect(world) in others
    write(world, others[0], b"k", b"after")
    assert world.run_until(lambda: world.caught_up(others), within_s=world.config.liveness_bound_s)
    assert read(world, others[2], b"k", serializable=True) == b"after"
    world.check_histories()


def test_a_graph_of_lanes_by_hand() -> None:
    """Exactly the lanes that are named carry messages, and a second graph replaces the first."""
    world = started()
    elect(world)
    for lanes in ([(1, 2), (2, 1)], [(2, 3), (3, 2)]):
        world.connect_only(lanes)
        world.run_for(0.5)
        events: list[Event] = []
        world.trace.subscribe(events.append)
        world.run_for(5.0)
        assert {(e.sender, e.to) for e in events if isinstance(e, MessageDelivered)} == set(lanes)
