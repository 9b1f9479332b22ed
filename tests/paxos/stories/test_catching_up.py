"""A replica that missed something asks for it: out of memory, out of the log, or the state as a whole."""

from kvstore.paxos.durable import LearnRecord
from kvstore.paxos.effects import DecidedValue, LogRead, Role
from kvstore.paxos.messages import AcceptedEntry, CatchUp, Decided, Envelope, SnapshotOffer
from tests.paxos.bench import Bench, app, ballot, node, slot
from tests.paxos.world import World, cluster


def missed(number: int, **settings: float) -> World:
    """Node 3 misses ``number`` slots; then its links are back."""
    world = cluster(**settings)
    world.isolate(3)
    for count in range(number):
        world.propose(1, b"%d" % count)
        world.run(0.02)
    world.heal()
    return world


def test_it_catches_up_from_the_cache() -> None:
    world = missed(20, page_entries_max=4)
    world.run(0.5)
    assert world.log(3) == world.log(1)
    assert world.nodes[node(1)].log_reads == []


def test_it_catches_up_from_the_log_where_the_cache_is_too_short() -> None:
    world = missed(40, cached_slots_max=8)
    world.run(0.5)
    assert world.log(3) == world.log(1)
    reads = world.nodes[node(1)].log_reads
    assert reads[0] == LogRead(node(3), slot(0), slot(40))
    learned = [r for r in world.nodes[node(3)].disk.records if isinstance(r, LearnRecord)]
    assert [r.slot for r in learned] == list(range(40)), "and keeps what it learned in its own log"


def test_it_catches_up_from_a_snapshot_where_the_log_is_cut() -> None:
    world = missed(40)
    for node_id in (1, 2):
        world.checkpoint(node(node_id))
        world.compact(node(node_id))
    world.run(0.5)
    assert world.core(3).status().first_slot == 40
    world.propose(1, b"after")
    world.run(0.5)
    assert world.log(3) == world.log(1)


def test_a_second_peer_answers_when_the_first_is_silent() -> None:
    world = missed(10)
    world.blocked.add((node(3), node(1)))  # its questions do not reach the leader, whose heartbeats do reach it
    world.run(1.5)
    assert world.log(3) == world.log(2)
    assert world.log(3) != []


def test_a_learner_follows_and_neither_votes_nor_stands() -> None:
    world = World((1, 2), learners=(3,))
    world.elect(1)
    world.propose(1, b"v")
    world.run(0.5)
    assert world.log(3) == [app("v")]
    world.isolate(1)
    world.isolate(2)
    world.run(5.0)
    assert world.core(3).status().role is Role.FOLLOWER
    assert world.core(3).status().promised == ballot(1, 1)


def test_questions_are_answered_with_what_there_is() -> None:
    """In memory: a page. In the log: for the shell to read. Cut: a snapshot. Unknown: nothing, and how far we are."""
    teacher = Bench(1, cached_slots_max=2, decided_end=3)
    entries = tuple(AcceptedEntry(slot(s), ballot(1, 2), app(str(s))) for s in range(3, 7))
    teacher.say(2, Decided(entries, slot(7)))
    teacher.core.compacted(first_slot=slot(2))
    assert teacher.say(3, CatchUp(slot(5))).messages == (Envelope(node(3), Decided(entries[2:], slot(7))),)
    assert teacher.say(3, CatchUp(slot(2))).log_reads == (LogRead(node(3), slot(2), slot(7)),)
    assert teacher.say(3, CatchUp(slot(1))).messages == (Envelope(node(3), SnapshotOffer(slot(2), slot(7))),)
    assert teacher.say(3, CatchUp(slot(7))).messages == (Envelope(node(3), Decided((), slot(7))),)


def test_learned_slots_beyond_a_gap_are_not_taken() -> None:
    """L6: no gaps."""
    pupil = Bench(1)
    beyond = AcceptedEntry(slot(1), ballot(1, 2), app("b"))
    assert pupil.say(2, Decided((beyond,), slot(2))).decided == ()
    both = (AcceptedEntry(slot(0), ballot(1, 2), app("a")), beyond)
    assert pupil.say(2, Decided(both, slot(2))).decided == (
        DecidedValue(slot(0), app("a"), None),
        DecidedValue(slot(1), app("b"), None),
    )
