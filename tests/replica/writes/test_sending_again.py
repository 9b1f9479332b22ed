"""A forward that was refused, lost or late is sent again: after a pause, once overdue, or when the link is back."""

from kvstore.paxos.effects import Role
from kvstore.replica.messages import Forward, ForwardReply
from tests.replica.cluster import RETRY_S, Cluster, put
from tests.replica.writes.wires import forwards_of, lose_forwards, times_proposed

RESEND_S = 1.0


def test_a_refused_write_is_sent_again_after_a_pause() -> None:
    cluster = Cluster()
    leader, follower, other = cluster.ready()
    ticket = follower.replica.write(put("k", "v"))
    cluster.turn(follower.node_id)
    lose_forwards(cluster)
    (forward,) = forwards_of(cluster, "k")
    follower.replica.receive(leader.node_id, ForwardReply(forward.message.number), cluster.now)
    begun = cluster.now
    cluster.settle()
    assert len(forwards_of(cluster, "k")) == 1
    cluster.run_until(lambda: ticket in follower.results)
    assert cluster.now - begun >= RETRY_S
    assert len(forwards_of(cluster, "k")) == 2
    assert other.times_put("k") == 1


def test_a_refusal_pauses_nothing_once_another_node_leads() -> None:
    """The turn that learns of it asks for the next one, in which what waits leaves."""
    cluster = Cluster()
    leader, follower, other = cluster.ready()
    ticket = follower.replica.write(put("k", "v"))
    cluster.turn(follower.node_id)
    lose_forwards(cluster)
    (forward,) = forwards_of(cluster, "k")
    leader.replica._paxos.transfer(other.node_id, cluster.now)
    follower.replica.receive(leader.node_id, ForwardReply(forward.message.number), cluster.now)
    begun = cluster.now
    cluster.settle()
    assert other.replica.status().role is Role.LEADER
    assert ticket in follower.results
    assert cluster.now == begun


def test_a_forward_that_stays_unanswered_is_sent_again() -> None:
    """Lost for a reason that nobody can know; overdue, it leaves a second time."""
    cluster = Cluster()
    _, follower, _ = cluster.ready()
    ticket = follower.replica.write(put("k"))
    cluster.turn(follower.node_id)
    lose_forwards(cluster)
    begun = cluster.now
    cluster.run_until(lambda: ticket in follower.results)
    assert RESEND_S <= cluster.now - begun < RESEND_S + 0.2
    assert len(forwards_of(cluster, "k")) == 2
    assert follower.times_put("k") == 1


def test_a_write_that_was_only_slow_is_applied_once() -> None:
    """The forward was overdue and sent again, and then both arrive: the second gets the first one's answer."""
    cluster = Cluster()
    leader, follower, other = cluster.ready()
    ticket = follower.replica.write(put("k"))
    cluster.holds = lambda wire: isinstance(wire.message, Forward)
    cluster.run(RESEND_S + 0.1)
    assert len(forwards_of(cluster, "k")) == 2
    cluster.release()
    cluster.run_until(lambda: ticket in follower.results)
    cluster.run_until(cluster.agreed)
    assert times_proposed(cluster, "k") == 2
    assert [member.times_put("k") for member in (leader, follower, other)] == [1, 1, 1]


def test_what_was_under_way_when_the_link_broke_is_sent_again_when_it_comes_back() -> None:
    """At once: time stands still."""
    cluster = Cluster()
    leader, follower, _ = cluster.ready()
    ticket = follower.replica.write(put("k"))
    cluster.turn(follower.node_id)
    lose_forwards(cluster)
    follower.replica.link_lost(leader.node_id, cluster.now)
    follower.replica.link_up(leader.node_id)
    begun = cluster.now
    cluster.settle()
    assert ticket in follower.results
    assert cluster.now == begun
    assert follower.times_put("k") == 1
