"""A leader makes another one, without an election timeout."""

import pytest

from kvstore.paxos.effects import Role
from kvstore.paxos.errors import NotLeader
from kvstore.paxos.messages import Envelope, Transfer
from tests.paxos.bench import Bench, app, ballot, node
from tests.paxos.world import TIMEOUT_S, cluster


def test_a_transfer_finishes_what_is_in_flight_and_proposes_nothing_more() -> None:
    leader = Bench(1)
    at = leader.lead()
    leader.propose("v")
    leader.core.transfer(node(2), leader.now)
    with pytest.raises(NotLeader) as refused:
        leader.core.propose(b"w", leader.now)
    assert refused.value.hint == 2
    assert not [e for e in leader.drain().messages if isinstance(e.message, Transfer)]
    leader.accepted_by(3, at, 0)
    effects = leader.accepted_by(2, at, 0)
    assert Envelope(node(2), Transfer(at)) in effects.messages


@pytest.mark.parametrize("target", [2, 3])
def test_a_transfer_takes_no_election_timeout(target: int) -> None:
    world = cluster()
    world.transfer(1, target)
    world.flush()
    assert world.leaders() == [target]
    world.propose(target, b"v")
    world.run(0.2)
    assert all(world.log(n) == [app("v")] for n in (1, 2, 3))


def test_a_transfer_that_gets_lost_ends_the_leadership_after_an_election_timeout() -> None:
    """It promised to propose nothing more; somebody has to."""
    world = cluster()
    world.block(1, 3)
    world.transfer(1, 3)
    world.run_until(lambda: world.core(1).status().role is Role.FOLLOWER, within_s=TIMEOUT_S + 0.1)
    world.heal()
    world.run_until(lambda: any(world.core(n).window_free for n in world.leaders()), within_s=4.0)


def test_a_transfer_from_a_deposed_leader_is_ignored() -> None:
    follower = Bench(2, promised=ballot(5, 3))
    assert follower.say(1, Transfer(ballot(4, 1))).write is None
    assert follower.core.status().role is Role.FOLLOWER


def test_the_successor_is_a_live_voter() -> None:
    world = cluster()
    world.isolate(2)
    world.run(1.0 + 0.1)
    assert world.core(1).successor() == 3
    assert world.core(2).successor() is None
