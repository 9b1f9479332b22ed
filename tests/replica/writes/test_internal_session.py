"""The session of a node: writes travel in it in order, within its window, and in the next one when it has expired."""

import pytest
from kvproto.command_pb2 import Entry, ExpireSessions
from kvproto.etcd.rpc_pb2 import PutResponse

from kvstore.replica.messages import Forward
from kvstore.replica.steps import Undone
from tests.replica.cluster import Cluster, Member, Wire, put
from tests.replica.writes.wires import forwards_of, lose_forwards, proposed


def expire_all_sessions(cluster: Cluster, *, of: Member) -> None:
    """As if nobody had used any of them for long: the log says so in the next slot of the leader."""
    of.replica._writes.propose(Entry(expire_sessions=ExpireSessions(unused_since_slot=of.store.applied_end + 1)))


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
