"""A write through a node that does not lead travels one hop, to the leader, and is answered where it came from."""

from kvproto.command_pb2 import CommandBatch
from kvproto.etcd.rpc_pb2 import PutResponse

from kvstore.paxos.messages import Accept, AcceptedEntry, Decided
from kvstore.paxos.types import Application, Slot
from kvstore.replica.messages import Forward, ForwardReply
from tests.replica.cluster import Cluster, of_session, put
from tests.replica.writes.wires import forwards_of, proposed


def test_a_write_through_a_follower_is_answered_by_that_follower() -> None:
    """After its own apply: the client reads its own write where it wrote."""
    cluster = Cluster()
    leader, follower, _ = cluster.ready()
    ticket = follower.replica.write(put("k", "v"))
    cluster.turn(follower.node_id)
    (forward,) = [wire for wire in cluster.wires if isinstance(wire.message, Forward)]
    assert forward.to == leader.node_id
    cluster.holds = lambda wire: wire.to == follower.node_id
    cluster.settle()
    assert leader.value("k") == "v"
    assert ticket not in follower.results
    assert follower.value("k") is None
    cluster.release()
    cluster.run_until(lambda: ticket in follower.results)
    assert isinstance(follower.results[ticket], PutResponse)
    assert follower.value("k") == "v"


def test_a_value_learned_from_another_replica_is_answered_like_any_other() -> None:
    """The follower missed its own batch and catches up: the client is answered all the same."""
    cluster = Cluster()
    leader, follower, other = cluster.ready()
    before = len(proposed(cluster))
    ticket = follower.replica.write(put("k", "v"))
    cluster.turn(follower.node_id)
    cluster.deliver()
    cluster.cut.add((leader.node_id, follower.node_id))
    cluster.settle()
    assert other.value("k") == "v"
    accept = [w.message for w in cluster.messages(Accept) if isinstance(w.message.value, Application)][-1]
    ballot = leader.replica.status().ballot
    page = Decided((AcceptedEntry(accept.slot, ballot, accept.value),), Slot(accept.slot + 1))
    follower.replica.receive(other.node_id, page, cluster.now)
    cluster.settle()
    assert isinstance(follower.results[ticket], PutResponse)
    assert len(proposed(cluster)) == before + 1


def test_a_write_travels_one_hop() -> None:
    """Who does not lead says so, and forwards nothing for others."""
    cluster = Cluster()
    leader, follower, other = cluster.ready()
    before = len(cluster.messages(Forward))
    stray = CommandBatch(entries=[of_session(1, 77, "k"), of_session(1, 78, "l")])
    other.replica.receive(follower.node_id, Forward(99, stray), cluster.now)
    cluster.settle()
    (reply,) = cluster.messages(ForwardReply)
    assert (reply.sender, reply.to, reply.message) == (other.node_id, follower.node_id, ForwardReply(99))
    assert len(cluster.messages(Forward)) == before
    assert leader.value("k") is None


def test_a_write_waits_for_a_leader_that_can_be_reached() -> None:
    cluster = Cluster()
    leader, follower, _ = cluster.ready()
    follower.replica.link_lost(leader.node_id, cluster.now)
    ticket = follower.replica.write(put("k"))
    cluster.turn(follower.node_id)
    assert forwards_of(cluster, "k") == []
    assert follower.replica.forget_write(ticket), "it has not left"
    again = follower.replica.write(put("l"))
    follower.replica.link_up(leader.node_id)
    cluster.run_until(lambda: again in follower.results)
    assert follower.value("k") is None
