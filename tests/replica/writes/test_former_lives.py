"""What a node sent or proposed before it died may still be decided, and is answered to nobody in its new life."""

from kvstore.replica.messages import Forward
from tests.replica.cluster import Cluster, put
from tests.replica.writes.wires import forwards_of


def test_a_batch_from_a_former_life_is_not_answered_to_new_tickets() -> None:
    """The follower forwarded, died and came back; its new clients wait for tickets of the same numbers."""
    cluster = Cluster()
    leader, follower, _ = cluster.ready()
    old = follower.replica.write(put("k", "old"))
    cluster.turn(follower.node_id)
    (late,) = [wire.message for wire in forwards_of(cluster, "k")]
    cluster.crash(follower.node_id)
    cluster.start(follower.node_id)
    first = follower.replica.write(put("l", "new"))
    second = follower.replica.write(put("m", "new"))
    assert old in (first, second)
    leader.replica.receive(follower.node_id, late, cluster.now)
    cluster.run_until(lambda: second in follower.results)
    assert list(follower.results) == [first, second]
    cluster.run_until(cluster.agreed)
    assert [follower.value(key) for key in "klm"] == ["old", "new", "new"]
    assert [follower.times_put(key) for key in "klm"] == [1, 1, 1]


def test_an_opening_from_a_former_life_opens_nothing_here() -> None:
    """The node asked for its session, died, and asks again under the same number: two sessions, one of them its own."""
    cluster = Cluster()
    leader, follower, _ = cluster.elect()
    follower.replica.write(put("k"))
    cluster.turn(follower.node_id)
    (late,) = [wire.message for wire in cluster.messages(Forward)]
    cluster.crash(follower.node_id)
    cluster.start(follower.node_id)
    cluster.run(0.2)
    ticket = follower.replica.write(put("l"))
    cluster.holds = lambda wire: isinstance(wire.message, Forward)
    cluster.settle()
    leader.replica.receive(follower.node_id, late, cluster.now)
    cluster.run(0.2)
    assert follower.store.has_session(1)
    assert not follower.replica._unary.is_own(1)
    cluster.release()
    cluster.run_until(lambda: ticket in follower.results)
    assert follower.replica._unary.is_own(2)


def test_an_own_proposal_that_is_decided_after_a_restart_is_answered_to_nobody() -> None:
    cluster = Cluster(1)
    (alone,) = cluster.ready()
    alone.replica.write(put("k", "v"))
    cluster.turn(1)
    cluster.crash(1)
    cluster.start(1)
    fresh = alone.replica.write(put("l"))
    cluster.run_until(lambda: fresh in alone.results)
    assert alone.value("k") == "v"
    assert list(alone.results) == [fresh]
