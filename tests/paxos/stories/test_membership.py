"""Changes of membership: who votes on which slot, and whose promise and confirmation it takes."""

import pytest

from kvstore.paxos.durable import GoverningConfiguration
from kvstore.paxos.effects import ReadReady, Role
from kvstore.paxos.errors import WindowFull
from kvstore.paxos.messages import Accept, Prepare, Promise, SuspectReply
from kvstore.paxos.types import ZERO_BALLOT, Application
from tests.paxos.bench import Bench, ballot, config_of, confirm, node, slot, to_all
from tests.paxos.world import World


def test_phase_1_needs_a_quorum_of_every_configuration_that_governs_an_undecided_slot() -> None:
    governing = (
        GoverningConfiguration(slot(0), config_of(1, 2, 3)),
        GoverningConfiguration(slot(20), config_of(1, 4, 5, epoch=2)),
    )
    candidate = Bench(1, (1, 2, 3, 4, 5), governing=governing, decided_end=10, promised=ballot(1, 1))
    candidate.tick()
    for doubter in (2, 3):
        assert candidate.say(doubter, SuspectReply(1, False, ZERO_BALLOT, slot(10))).write is None
    assert candidate.say(4, SuspectReply(1, False, ZERO_BALLOT, slot(10))).write is not None
    candidate.sync()
    at = candidate.core.status().ballot
    for promiser in (2, 3):
        candidate.say(promiser, Promise(at, slot(10), (), None, slot(10), slot(0)))
        assert candidate.core.status().role is Role.CANDIDATE
    candidate.say(4, Promise(at, slot(10), (), None, slot(10), slot(0)))
    assert candidate.core.status().role is Role.LEADER


def test_a_read_too_is_confirmed_by_every_configuration() -> None:
    governing = (
        GoverningConfiguration(slot(0), config_of(1, 2, 3)),
        GoverningConfiguration(slot(20), config_of(1, 4, 5, epoch=2)),
    )
    leader = Bench(1, (1, 2, 3, 4, 5), governing=governing, decided_end=10, promised=ballot(1, 1))
    leader.lead_at(10)
    read_id, beat = confirm(leader)
    for sender in (2, 3):
        assert leader.hear_back(sender, beat, decided_end=10).reads_ready == ()
    assert leader.hear_back(5, beat, decided_end=10).reads_ready == (ReadReady(read_id, slot(10)),)


def test_a_slot_is_chosen_by_the_configuration_that_governs_it() -> None:
    """α = 4: slot 3 still by 1, 2, 3; slot 4 by 1, 4, 5, once a quorum of those has promised as well."""
    leader = Bench(1, alpha=4, inflight_slots_max=4)
    at = leader.lead()
    leader.core.propose_configuration(config_of(1, 4, 5, epoch=2), leader.now)
    leader.drain()
    leader.sync()
    assert len(leader.accepted_by(2, at, 0).decided) == 1
    for text in "abc":
        leader.propose(text)
    with pytest.raises(WindowFull):
        leader.core.propose(b"too early", leader.now)
    leader.sync()
    asked = [e for e in leader.tick().messages if isinstance(e.message, Prepare)]
    assert asked == list(to_all((node(4), node(5)), Prepare(at, slot(0))))
    leader.say(4, Promise(at, slot(0), (), None, slot(0), slot(0)))
    leader.accepted_by(2, at, 1, 4)
    effects = leader.propose("d")
    assert {e.to for e in effects.messages if isinstance(e.message, Accept)} == {4, 5}
    leader.sync()
    assert leader.accepted_by(2, at, 4).decided == (), "2 has no vote any more"
    assert len(leader.accepted_by(4, at, 4).decided) == 1


def test_a_cluster_moves_to_new_nodes_under_load() -> None:
    """1, 2, 3 → 4, 5, 6 by one swap at a time; the old ones may then go."""
    world = World((1, 2, 3), spare=(4, 5, 6), alpha=8, inflight_slots_max=4)
    world.elect(1)
    voters = [1, 2, 3]
    count = 0

    def load(slots: int) -> None:
        nonlocal count
        for _ in range(slots):
            world.run_until(lambda: any(world.core(n).window_free for n in world.leaders()), within_s=4.0)
            world.propose(world.leader(), b"%d" % count)
            count += 1
            world.run(0.05)

    for epoch, (leaving, coming) in enumerate(((3, 4), (2, 5), (1, 6)), start=2):
        voters = sorted({*voters, coming} - {leaving})
        world.propose_configuration(world.leader(), config_of(*voters, epoch=epoch))
        load(10)
    for gone in (1, 2, 3):
        world.crash(node(gone))
    world.wires.clear()
    world.run_until(lambda: any(world.core(n).window_free for n in world.leaders()), within_s=4.0)
    load(3)
    assert world.leader() in {4, 5, 6}
    applied = [v.data for v in world.log(4) if isinstance(v, Application)]
    assert applied == [b"%d" % n for n in range(count)]
