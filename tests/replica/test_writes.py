"""Writes: the way through another node, giving up, and what is known of one that was not answered."""

from kvproto.command_pb2 import CommandBatch, Submission
from kvproto.etcd.rpc_pb2 import PutResponse

from kvstore.paxos.effects import Role
from kvstore.paxos.messages import Accept, AcceptedEntry, Decided
from kvstore.paxos.types import Application, Slot
from kvstore.replica.messages import Forward, ForwardReply
from kvstore.replica.steps import Undone

from .cluster import RETRY_S, Cluster, put


def proposed(cluster: Cluster) -> list[CommandBatch]:
    """Every batch that any leader sent out, each once."""
    values = {w.message.value.data: None for w in cluster.messages(Accept) if isinstance(w.message.value, Application)}
    return [CommandBatch.FromString(data) for data in values]


# Through another node


def test_a_write_through_a_follower_is_answered_by_that_follower() -> None:
    """After its own apply: the client reads its own write where it wrote."""
    cluster = Cluster()
    leader, follower, _ = cluster.elect()
    ticket = follower.replica.write(put("k", "v"))
    cluster.turn(follower.node_id)
    (forward,) = [wire for wire in cluster.wires if isinstance(wire.message, Forward)]
    assert forward.to == leader.node_id
    cluster.holds = lambda wire: wire.to == follower.node_id
    cluster.settle()
    assert leader.value("k") == "v"
    assert leader.results == {}
    assert follower.results == {}
    assert follower.value("k") is None
    cluster.release()
    cluster.run_until(lambda: ticket in follower.results)
    assert isinstance(follower.results[ticket], PutResponse)
    assert follower.value("k") == "v"


def test_a_write_travels_one_hop() -> None:
    """Who does not lead says so, and forwards nothing for others: nor does anyone take what another has forwarded."""
    cluster = Cluster()
    leader, follower, other = cluster.elect()
    stray = Submission(node_id=follower.node_id, incarnation=1, first_ticket=77, entries=[put("k"), put("l")])
    other.replica.receive(follower.node_id, Forward(stray.SerializeToString()), cluster.now)
    leader.replica.receive(other.node_id, Forward(stray.SerializeToString()), cluster.now)
    cluster.settle()
    (reply,) = cluster.messages(ForwardReply)
    assert (reply.sender, reply.to) == (other.node_id, follower.node_id)
    assert reply.message == ForwardReply(77, 2, overloaded=False, leader_hint=leader.node_id)
    assert cluster.messages(Forward) == []
    assert leader.value("k") is None


def test_a_write_waits_for_a_leader_that_can_be_reached() -> None:
    cluster = Cluster()
    leader, follower, _ = cluster.elect()
    follower.replica.link_lost(leader.node_id, cluster.now)
    ticket = follower.replica.write(put("k"))
    cluster.turn(follower.node_id)
    assert cluster.messages(Forward) == []
    assert follower.replica.forget_write(ticket), "it has not left"
    again = follower.replica.write(put("l"))
    follower.replica.link_up(leader.node_id)
    cluster.run_until(lambda: again in follower.results)
    assert follower.value("k") is None


def test_a_refused_write_is_sent_again_after_a_pause() -> None:
    """By the word of the node that does not lead, it was certainly not proposed."""
    cluster = Cluster()
    leader, follower, other = cluster.elect()
    ticket = follower.replica.write(put("k", "v"))
    cluster.turn(follower.node_id)
    cluster.wires = [wire for wire in cluster.wires if not isinstance(wire.message, Forward)]
    refusal = ForwardReply(ticket, 1, overloaded=False, leader_hint=None)
    follower.replica.receive(leader.node_id, refusal, cluster.now)
    begun = cluster.now
    cluster.settle()
    assert len(cluster.messages(Forward)) == 1
    cluster.run_until(lambda: ticket in follower.results)
    assert cluster.now - begun >= RETRY_S
    assert len(cluster.messages(Forward)) == 2
    assert other.times_put("k") == 1


def test_a_refusal_pauses_nothing_once_another_node_leads() -> None:
    """The turn that learns of it asks for the next one, in which what waits leaves."""
    cluster = Cluster()
    leader, follower, other = cluster.elect()
    ticket = follower.replica.write(put("k", "v"))
    cluster.turn(follower.node_id)
    cluster.wires.clear()
    leader.replica._paxos.transfer(other.node_id, cluster.now)
    follower.replica.receive(leader.node_id, ForwardReply(ticket, 1, False, None), cluster.now)
    begun = cluster.now
    cluster.settle()
    assert other.replica.status().role is Role.LEADER
    assert ticket in follower.results
    assert cluster.now == begun


def test_a_write_that_may_have_been_proposed_is_never_sent_again() -> None:
    """The Forward got lost, which nobody can know: the client decides when to give up, and its fate is unknown."""
    cluster = Cluster()
    _, follower, _ = cluster.elect()
    ticket = follower.replica.write(put("k"))
    cluster.turn(follower.node_id)
    cluster.wires.clear()
    cluster.run(5.0)
    assert len(cluster.messages(Forward)) == 1
    assert ticket not in follower.results
    assert not follower.replica.forget_write(ticket)


def test_a_proposal_that_lost_its_slot_is_proposed_again_by_who_leads_then() -> None:
    """The leader is cut off with a proposal that nobody saw, and another value takes its slot."""
    cluster = Cluster()
    old, follower, _ = cluster.elect()
    cluster.isolate(old.node_id)
    ticket = old.replica.write(put("k", "old"))
    cluster.settle()
    cluster.run_until(lambda: any(m.replica.status().role is Role.LEADER for m in cluster.up if m is not old))
    taken = follower.replica.write(put("k", "new"))
    cluster.run_until(lambda: taken in follower.results)
    cluster.heal()
    cluster.run_until(lambda: ticket in old.results)
    assert old.times_put("k") == 2
    assert [member.value("k") for member in cluster.up] == ["old"] * 3
    cluster.run_until(cluster.agreed)


def test_a_forwarded_proposal_that_lost_its_slot_is_reported_to_who_forwarded_it() -> None:
    """That node sends it on again; it is applied once."""
    cluster = Cluster()
    old, follower, other = cluster.elect()
    ticket = follower.replica.write(put("k", "v"))
    cluster.turn(follower.node_id)
    cluster.holds = lambda wire: wire.sender == old.node_id
    cluster.isolate(other.node_id)
    cluster.settle()
    cluster.isolate(old.node_id)
    cluster.held.clear()
    cluster.cut -= {(follower.node_id, other.node_id), (other.node_id, follower.node_id)}
    cluster.run_until(lambda: any(m.replica.status().role is Role.LEADER for m in cluster.up if m is not old))
    taken = other.replica.write(put("l"))
    cluster.run_until(lambda: taken in other.results)
    assert ticket not in follower.results
    cluster.release()
    cluster.heal()
    cluster.run_until(lambda: ticket in follower.results)
    assert [wire.sender for wire in cluster.messages(ForwardReply)] == [old.node_id]
    assert follower.times_put("k") == 1


def test_a_proposal_that_the_next_leader_completes_is_answered_by_the_old_one() -> None:
    cluster = Cluster()
    old, *followers = cluster.elect()
    ticket = old.replica.write(put("k", "v"))
    cluster.holds = lambda wire: wire.to == old.node_id
    cluster.settle()
    assert ticket not in old.results
    cluster.isolate(old.node_id)
    cluster.held.clear()
    cluster.run_until(lambda: all(member.value("k") == "v" for member in followers))
    cluster.release()
    cluster.heal()
    cluster.run_until(lambda: ticket in old.results)
    assert old.times_put("k") == 1


def test_a_proposal_below_a_snapshot_has_an_unknown_fate() -> None:
    """The state contains its slot or not; nobody can say any more."""
    cluster = Cluster()
    old, *_ = cluster.elect()
    cluster.isolate(old.node_id)
    ticket = old.replica.write(put("k"))
    cluster.turn(old.node_id)
    governing = old.replica.configurations()
    old.replica._paxos.installed(decided_end=Slot(500), configurations=governing, now=cluster.now)
    cluster.turn(old.node_id)
    assert old.undone == {ticket: Undone.UNKNOWN}


# Giving up


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
    leader, follower, _ = cluster.elect()
    tickets = [member.replica.write(put(f"k{member.node_id}")) for member in (leader, follower)]
    cluster.turn(leader.node_id)
    cluster.turn(follower.node_id)
    assert not leader.replica.forget_write(tickets[0])
    assert not follower.replica.forget_write(tickets[1])
    cluster.settle()
    assert leader.results == follower.results == {}
    assert leader.value(f"k{leader.node_id}") == leader.value(f"k{follower.node_id}") == ""


def test_a_write_that_was_refused_and_given_up_is_not_sent_again() -> None:
    cluster = Cluster()
    leader, follower, _ = cluster.elect()
    ticket = follower.replica.write(put("k"))
    cluster.turn(follower.node_id)
    cluster.wires.clear()
    follower.replica.receive(leader.node_id, ForwardReply(ticket, 1, False, None), cluster.now)
    assert follower.replica.forget_write(ticket), "not proposed, and never will be"
    cluster.run(2.0)
    assert leader.value("k") is None


# Former lives


def test_a_batch_from_a_former_life_is_not_answered_to_new_tickets() -> None:
    """The follower forwarded, died and came back; its new clients wait for tickets of the same numbers but one."""
    cluster = Cluster()
    leader, follower, _ = cluster.elect()
    old = follower.replica.write(put("k", "old"))
    cluster.turn(follower.node_id)
    cluster.holds = lambda wire: isinstance(wire.message, Forward)
    cluster.settle()
    late = [wire.message for wire in cluster.held]
    cluster.crash(follower.node_id)
    cluster.start(follower.node_id)
    follower.results.clear()
    new = follower.replica.write(put("l", "new"))
    assert old & 0xFFFFFFFF == new & 0xFFFFFFFF
    assert old != new
    for message in late:
        leader.replica.receive(follower.node_id, message, cluster.now)
    cluster.run_until(lambda: follower.value("k") == "old")
    assert new not in follower.results
    cluster.release()
    cluster.run_until(lambda: new in follower.results)
    assert list(follower.results) == [new]


def test_an_own_proposal_that_is_decided_after_a_restart_is_answered_to_nobody() -> None:
    cluster = Cluster(1)
    (alone,) = cluster.elect()
    alone.replica.write(put("k", "v"))
    cluster.turn(1)
    cluster.crash(1)
    cluster.start(1)
    fresh = alone.replica.write(put("l"))
    cluster.run_until(lambda: fresh in alone.results)
    assert alone.value("k") == "v"
    assert list(alone.results) == [fresh]


def test_a_value_learned_from_another_replica_is_answered_like_any_other() -> None:
    """The follower missed its own batch and catches up: the client is answered all the same."""
    cluster = Cluster()
    leader, follower, other = cluster.elect()
    ticket = follower.replica.write(put("k", "v"))
    cluster.turn(follower.node_id)
    cluster.deliver()
    cluster.cut.add((leader.node_id, follower.node_id))
    cluster.settle()
    assert other.value("k") == "v"
    slot = next(w.message.slot for w in cluster.messages(Accept) if isinstance(w.message.value, Application))
    value = next(w.message.value for w in cluster.messages(Accept) if isinstance(w.message.value, Application))
    ballot = leader.replica.status().ballot
    page = Decided((AcceptedEntry(slot, ballot, value),), Slot(slot + 1))
    follower.replica.receive(other.node_id, page, cluster.now)
    cluster.settle()
    assert list(follower.results) == [ticket]
    assert len(proposed(cluster)) == 1
