"""Another node comes to lead: what the former leader had, or had proposed in a slot that it lost, is sent on."""

from kvproto.etcd.rpc_pb2 import PutResponse

from kvstore.paxos.effects import Role
from kvstore.paxos.messages import AcceptedEntry, Decided
from kvstore.paxos.types import Slot
from tests.replica.cluster import Cluster, Member, put
from tests.replica.writes.wires import forwards_of, lose_forwards, times_proposed


def others_lead(cluster: Cluster, old: Member) -> bool:
    return any(m.replica.status().role is Role.LEADER for m in cluster.up if m is not old)


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
