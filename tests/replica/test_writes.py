"""Writes without a session of their own: the way through another node, again and again, and giving up.

They travel in the node's internal session, so whatever happens on the way, each is applied once (L12).
"""

import pytest
from kvproto.command_pb2 import CommandBatch, Entry, ExpireSessions
from kvproto.etcd.rpc_pb2 import PutResponse

from kvstore.paxos.effects import Role
from kvstore.paxos.messages import Accept, AcceptedEntry, Decided
from kvstore.paxos.types import Application, Slot
from kvstore.replica.messages import Forward, ForwardReply
from kvstore.replica.steps import Undone

from .cluster import RETRY_S, Cluster, Member, Wire, of_session, put

RESEND_S = 1.0


def proposed(cluster: Cluster) -> list[CommandBatch]:
    """Every batch that any leader sent out, each once."""
    values = {w.message.value.data: None for w in cluster.messages(Accept) if isinstance(w.message.value, Application)}
    return [CommandBatch.FromString(data) for data in values]


def times_proposed(cluster: Cluster, key: str) -> int:
    return sum(entry.put.key == key.encode() for batch in proposed(cluster) for entry in batch.entries)


def forwards_of(cluster: Cluster, key: str) -> list[Wire]:
    return [
        wire
        for wire in cluster.messages(Forward)
        if any(entry.put.key == key.encode() for entry in wire.message.batch.entries)
    ]


def lose_forwards(cluster: Cluster) -> None:
    cluster.wires = [wire for wire in cluster.wires if not isinstance(wire.message, Forward)]


def others_lead(cluster: Cluster, old: Member) -> bool:
    return any(m.replica.status().role is Role.LEADER for m in cluster.up if m is not old)


def expire_all_sessions(cluster: Cluster, *, of: Member) -> None:
    """As if nobody had used any of them for long: the log says so in the next slot of the leader."""
    of.replica._writes.propose(Entry(expire_sessions=ExpireSessions(unused_since_slot=of.store.applied_end + 1)))


# The internal session


def test_the_first_write_opens_the_session_of_its_node() -> None:
    """Once; all others travel in it, in order, and none of them before it is open."""
    cluster = Cluster()
    leader, follower, _ = cluster.elect()
    tickets = [follower.replica.write(put(f"k{number}")) for number in range(3)]
    cluster.settle()
    tickets += [follower.replica.write(put(f"l{number}")) for number in range(3)]
    cluster.settle()
    assert list(follower.results) == tickets
    entries = [entry for batch in proposed(cluster) for entry in batch.entries]
    assert [entry.WhichOneof("command") for entry in entries] == ["open_session", *["put"] * 6]
    assert entries[0].open_session.node_id == follower.node_id
    assert [entry.session for entry in entries[1:]] == [1] * 6
    assert [entry.sequence for entry in entries[1:]] == [*range(1, 7)]
    assert leader.results == leader.opened == follower.opened == {}


def test_an_alone_node_opens_its_session_and_writes_without_a_pause() -> None:
    """Time stands still: the turn that opens it asks for the next one."""
    cluster = Cluster(1)
    (alone,) = cluster.elect()
    ticket = alone.replica.write(put("k"))
    begun = cluster.now
    cluster.settle()
    assert ticket in alone.results
    assert cluster.now == begun


def test_the_log_is_told_which_answers_need_not_be_kept() -> None:
    """``unanswered_from`` follows the lowest sequence that is under way."""
    cluster = Cluster(1)
    (alone,) = cluster.ready()
    for number in range(5):
        alone.replica.write(put(f"k{number}"))
    cluster.settle()
    alone.replica.write(put("l"))
    cluster.turn(1)
    (proposal,) = alone.replica._proposed.values()
    (entry,) = proposal.batch.entries
    assert (entry.sequence, entry.unanswered_from) == (7, 7)
    cluster.settle()
    assert alone.store._sessions._sessions[entry.session].floor == 6


@pytest.mark.parametrize(("count", "under_way"), [(7, 7), (8, 8), (9, 8)])
def test_no_more_is_under_way_than_the_session_keeps_answers_for(count: int, under_way: int) -> None:
    """The window is answers_per_session_max: one less, that many, one more. The rest follows; none is refused."""
    cluster = Cluster(answers_max=8)
    _, follower, _ = cluster.ready()
    cluster.holds = lambda wire: isinstance(wire.message, Forward)
    tickets = [follower.replica.write(put(f"k{number}")) for number in range(count)]
    cluster.settle()
    assert sum(len(wire.message.batch.entries) for wire in cluster.held) == under_way
    cluster.release()
    begun = cluster.now
    cluster.settle()
    assert cluster.now == begun
    assert all(isinstance(follower.results[ticket], PutResponse) for ticket in tickets)


def test_the_window_waits_for_the_lowest_unanswered_one() -> None:
    """Though all others were answered: else its answer would be gone before it was applied."""
    cluster = Cluster(answers_max=4, batch_entries_max=1)
    _, follower, _ = cluster.ready()
    first = True

    def loses_the_first(wire: Wire) -> bool:
        nonlocal first
        if not isinstance(wire.message, Forward) or not first:
            return False
        first = False
        return True

    cluster.holds = loses_the_first
    tickets = [follower.replica.write(put(f"k{number}")) for number in range(6)]
    cluster.settle()
    assert [ticket in follower.results for ticket in tickets] == [False, True, True, True, False, False]
    cluster.held.clear()
    cluster.run_until(lambda: set(tickets) <= set(follower.results))
    assert all(isinstance(follower.results[ticket], PutResponse) for ticket in tickets)


def test_a_session_that_has_expired_is_replaced_and_no_client_notices() -> None:
    """The write was sent once, and refused: it was certainly not applied, and goes into the next session."""
    cluster = Cluster()
    leader, follower, _ = cluster.ready()
    expire_all_sessions(cluster, of=leader)
    cluster.settle()
    tickets = [follower.replica.write(put(f"k{number}", "v")) for number in range(3)]
    begun = cluster.now
    cluster.run_until(lambda: set(tickets) <= set(follower.results))
    assert cluster.now - begun < 0.1
    assert all(isinstance(follower.results[ticket], PutResponse) for ticket in tickets)
    assert follower.undone == {}
    assert [leader.times_put(f"k{number}") for number in range(3)] == [1, 1, 1]
    assert isinstance(cluster.write(follower, put("l")), PutResponse)


def test_the_fate_of_a_write_that_was_sent_twice_into_an_expired_session_is_unknown() -> None:
    """The first copy got lost, which nobody can know: it may have been applied before the session expired."""
    cluster = Cluster()
    leader, follower, _ = cluster.ready()
    ticket = follower.replica.write(put("k", "v"))
    cluster.turn(follower.node_id)
    lose_forwards(cluster)
    expire_all_sessions(cluster, of=leader)
    cluster.run_until(lambda: ticket in follower.undone)
    assert len(forwards_of(cluster, "k")) == 2
    assert follower.undone == {ticket: Undone.UNKNOWN}
    assert follower.value("k") is None
    assert isinstance(cluster.write(follower, put("l")), PutResponse), "in the next session"


# Through another node


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


# Again


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


def test_a_changed_leader_is_sent_what_the_former_one_had() -> None:
    """The leader dies with a forward that it proposed to nobody: its follower sends it on to the next one."""
    cluster = Cluster()
    leader, follower, other = cluster.ready()
    ticket = follower.replica.write(put("k"))
    cluster.turn(follower.node_id)
    lose_forwards(cluster)
    cluster.crash(leader.node_id)
    cluster.run_until(lambda: ticket in follower.results)
    assert follower.times_put("k") == other.times_put("k") == 1


def test_a_follower_sends_a_write_to_a_new_leader_once() -> None:
    """What leaves in the turns around the change leaves once, not again for being new there."""
    cluster = Cluster()
    leader, follower, other = cluster.ready()
    cluster.crash(leader.node_id)
    tickets = [member.replica.write(put(f"k{member.node_id}")) for member in (follower, other)]
    cluster.run_until(lambda: tickets[0] in follower.results and tickets[1] in other.results)
    successor, forwarder = (follower, other) if cluster.leader() is follower else (other, follower)
    assert len(forwards_of(cluster, f"k{forwarder.node_id}")) == 1
    assert forwards_of(cluster, f"k{successor.node_id}") == []
    assert times_proposed(cluster, f"k{follower.node_id}") == times_proposed(cluster, f"k{other.node_id}") == 1


def test_a_proposal_that_lost_its_slot_is_sent_again() -> None:
    """The leader is cut off with a proposal that nobody saw, and another value takes its slot."""
    cluster = Cluster()
    old, follower, _ = cluster.ready()
    cluster.isolate(old.node_id)
    ticket = old.replica.write(put("k", "old"))
    cluster.settle()
    cluster.run_until(lambda: others_lead(cluster, old))
    cluster.write(follower, put("k", "new"))
    cluster.heal()
    cluster.run_until(lambda: ticket in old.results)
    assert old.times_put("k") == 2
    assert [member.value("k") for member in cluster.up] == ["old"] * 3
    cluster.run_until(cluster.agreed)


def test_a_leader_that_learns_in_one_turn_that_it_lost_its_slot_and_its_lead_sends_again() -> None:
    """All of it comes in one message from a replica that knows: the slot has another value."""
    cluster = Cluster()
    old, follower, other = cluster.ready()
    cluster.isolate(old.node_id)
    ticket = old.replica.write(put("k", "old"))
    cluster.settle()
    for member in (follower, other):
        member.replica.link_lost(old.node_id, cluster.now)
    cluster.run_until(lambda: others_lead(cluster, old), within_s=0.5)
    taken = cluster.write(follower, put("k", "new"))
    assert isinstance(taken, PutResponse)
    cluster.holds = lambda wire: wire.to == old.node_id
    slot = Slot(old.store.applied_end)
    assert follower.log is not None
    entries = follower.log.read_decided(slot, Slot(follower.store.applied_end), bytes_max=1 << 20)
    assert isinstance(entries[0], AcceptedEntry)
    cluster.heal()
    assert old.replica.status().role is Role.LEADER
    page = Decided(entries, Slot(follower.store.applied_end))
    old.replica.receive(other.node_id, page, cluster.now)
    cluster.settle()
    cluster.release()
    cluster.run_until(lambda: ticket in old.results)
    assert isinstance(old.results[ticket], PutResponse)
    assert old.value("k") == "old"


def test_a_forwarded_proposal_that_lost_its_slot_is_sent_to_the_next_leader() -> None:
    """Its follower does so, whatever the old leader still believes; it is applied once."""
    cluster = Cluster()
    old, follower, other = cluster.ready()
    ticket = follower.replica.write(put("k", "v"))
    cluster.turn(follower.node_id)
    cluster.holds = lambda wire: wire.sender == old.node_id
    cluster.isolate(other.node_id)
    cluster.settle()
    cluster.isolate(old.node_id)
    cluster.held.clear()
    cluster.cut -= {(follower.node_id, other.node_id), (other.node_id, follower.node_id)}
    cluster.run_until(lambda: others_lead(cluster, old))
    cluster.run_until(lambda: ticket in follower.results)
    cluster.release()
    cluster.heal()
    cluster.run_until(cluster.agreed)
    assert [member.times_put("k") for member in cluster.up] == [1, 1, 1]


def test_a_proposal_that_the_next_leader_completes_is_answered_by_the_old_one() -> None:
    """And though it was sent on as well, it is applied once."""
    cluster = Cluster()
    old, *followers = cluster.ready()
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
    cluster.run_until(cluster.agreed)
    assert old.times_put("k") == 1


def test_a_proposal_below_a_snapshot_is_sent_again() -> None:
    """The state contains its slot or not, and its session tells which."""
    cluster = Cluster()
    old, *_ = cluster.ready()
    cluster.isolate(old.node_id)
    ticket = old.replica.write(put("k"))
    cluster.turn(old.node_id)
    governing = old.replica.configurations()
    end = Slot(old.store.applied_end + 1)
    old.replica._paxos.installed(decided_end=end, configurations=governing, now=cluster.now)
    cluster.turn(old.node_id)
    assert old.undone == {}
    assert old.replica._proposed == {}
    assert old.replica._writes.waiting_count == 1
    assert not old.replica.forget_write(ticket), "it may have been applied"


def test_writes_survive_a_hand_over_and_cost_no_error() -> None:
    """Through every node, while leadership goes around: each is answered, each is applied once."""
    cluster = Cluster(seed=3)
    cluster.ready()
    tickets: list[tuple[Member, int, str]] = []
    for number in range(40):
        for member in cluster.up:
            key = f"{number}-{member.node_id}"
            tickets.append((member, member.replica.write(put(key)), key))
        if number % 4 == 0:
            cluster.leader().replica.hand_over(cluster.now)
        cluster.run(0.01)
    cluster.run_until(lambda: all(ticket in member.results for member, ticket, _ in tickets))
    assert all(isinstance(member.results[ticket], PutResponse) for member, ticket, _ in tickets)
    cluster.run_until(cluster.agreed)
    assert {cluster[1].times_put(key) for _, _, key in tickets} == {1}
    assert [member.undone for member in cluster.up] == [{}, {}, {}]


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


# Former lives


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
