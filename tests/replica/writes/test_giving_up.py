"""Writes that a client gives up: never proposed if they had not left, and not sent again if they had."""

from kvproto.etcd.rpc_pb2 import PutResponse

from kvstore.replica.messages import ForwardReply
from tests.replica.cluster import Cluster, put
from tests.replica.writes.wires import forwards_of, lose_forwards


def test_a_write_that_is_given_up_while_it_waits_is_never_proposed() -> None:
    cluster = Cluster(1)
    (alone,) = cluster.elect()
    ticket = alone.replica.write(put("k"))
    kept = alone.replica.write(put("l"))
    assert alone.replica.forget_write(ticket)
    assert not alone.replica.forget_write(ticket), "it says so once"
    cluster.settle()
    assert list(alone.results) == [kept]
    assert alone.value("k") is None


def test_a_write_that_is_given_up_under_way_may_be_applied_and_is_not_answered() -> None:
    cluster = Cluster()
    leader, follower, _ = cluster.ready()
    before = dict(leader.results), dict(follower.results)
    tickets = [member.replica.write(put(f"k{member.node_id}")) for member in (leader, follower)]
    cluster.turn(leader.node_id)
    cluster.turn(follower.node_id)
    assert not leader.replica.forget_write(tickets[0])
    assert not follower.replica.forget_write(tickets[1])
    cluster.settle()
    assert (leader.results, follower.results) == before
    assert leader.value(f"k{leader.node_id}") == leader.value(f"k{follower.node_id}") == ""


def test_a_write_that_was_given_up_is_not_sent_again() -> None:
    """It was sent once, so nobody can say that it was not proposed; but it stays with that."""
    cluster = Cluster()
    leader, follower, _ = cluster.ready()
    ticket = follower.replica.write(put("k"))
    cluster.turn(follower.node_id)
    lose_forwards(cluster)
    (forward,) = forwards_of(cluster, "k")
    follower.replica.receive(leader.node_id, ForwardReply(forward.message.number), cluster.now)
    assert not follower.replica.forget_write(ticket)
    cluster.run(2.0)
    assert leader.value("k") is None
    assert len(forwards_of(cluster, "k")) == 1


def test_what_was_given_up_does_not_hold_up_the_window() -> None:
    cluster = Cluster(answers_max=2)
    _, follower, _ = cluster.ready()
    tickets = [follower.replica.write(put(f"k{number}")) for number in range(2)]
    cluster.turn(follower.node_id)
    lose_forwards(cluster)
    for ticket in tickets:
        assert not follower.replica.forget_write(ticket)
    later = follower.replica.write(put("l"))
    cluster.settle()
    assert isinstance(follower.results[later], PutResponse)
