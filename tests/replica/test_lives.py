"""Handing over, configurations in the state, restarts from state and log, and whole runs under faults."""

import pytest
from kvproto.etcd.rpc_pb2 import PutResponse

from kvstore.mvcc.store import Store
from kvstore.paxos.durable import GoverningConfiguration
from kvstore.paxos.effects import LogRead, Role
from kvstore.paxos.messages import CatchUp, Decided
from kvstore.paxos.types import Configuration, NodeId, Noop, Slot
from kvstore.replica.steps import ReadLog
from kvstore.replica.writes import Overloaded
from kvstore.storage.codec import decode_value

from .cluster import Cluster, Member, encoded, put

# Handing over


def test_a_hand_over_takes_no_election_timeout_and_loses_no_write() -> None:
    """Time stands still: what was in flight is answered, what came after it goes to the successor."""
    cluster = Cluster()
    leader, *_ = cluster.elect()
    before = leader.replica.write(put("before"))
    cluster.turn(leader.node_id)
    successor = leader.replica.hand_over(cluster.now)
    assert successor is not None
    after = leader.replica.write(put("after"))
    begun = cluster.now
    cluster.settle()
    assert cluster.now == begun
    assert cluster.leader().node_id == successor
    cluster.run_until(lambda: {before, after} <= set(leader.results))
    assert leader.value("before") == leader.value("after") == ""
    assert cluster.now - begun < 0.5


def test_only_a_leader_with_somebody_to_lead_hands_over() -> None:
    cluster = Cluster()
    leader, follower, other = cluster.elect()
    assert follower.replica.hand_over(cluster.now) is None
    cluster.crash(follower.node_id)
    cluster.crash(other.node_id)
    cluster.run(0.9)
    cluster.run_until(lambda: leader.replica.hand_over(cluster.now) is None)
    alone = Cluster(1)
    alone.elect()
    assert alone[1].replica.hand_over(alone.now) is None


# Configurations


def governing(store: Store) -> list[GoverningConfiguration]:
    decoded = [(Slot(slot), decode_value(value)) for slot, value in store.configurations()]
    assert all(isinstance(configuration, Configuration) for _, configuration in decoded)
    return [GoverningConfiguration(slot, configuration) for slot, configuration in decoded]  # type: ignore[arg-type]


def change(cluster: Cluster, leader: Member, configuration: Configuration) -> Slot:
    """Decides ``configuration`` everywhere; returns its slot."""
    slot = Slot(leader.store.applied_end)
    leader.replica._paxos.propose_configuration(configuration, cluster.now)
    cluster.run_until(lambda: all(member.store.applied_end > slot for member in cluster.up))
    return slot


def test_what_the_log_decides_about_membership_is_in_the_state() -> None:
    """Every configuration that governs an undecided slot, from its slot on, in the transaction of the slot (L9)."""
    cluster = Cluster(paxos={"alpha": 8, "inflight_slots_max": 8})
    leader, *_ = cluster.elect()
    second = Configuration(2, (NodeId(1), NodeId(2)), (NodeId(3),), {NodeId(1): "localhost:1"})
    slot = change(cluster, leader, second)
    expected = [GoverningConfiguration(Slot(0), cluster.first), GoverningConfiguration(Slot(slot + 8), second)]
    for member in cluster.up:
        assert governing(member.store) == expected
        assert list(member.replica.configurations()) == expected
    assert cluster.agreed()


def test_the_state_hash_covers_configurations() -> None:
    """Two clusters that decide different addresses in the same slot do not look alike."""
    hashes = []
    for address in ("localhost:1", "localhost:2"):
        cluster = Cluster(1)
        (alone,) = cluster.elect()
        slot = change(cluster, alone, Configuration(2, (NodeId(1),), (), {NodeId(1): address}))
        assert alone.store.applied_end == slot + 1
        hashes.append(alone.store.state_hash)
    assert hashes[0] != hashes[1]


def test_a_restarted_replica_goes_on_with_the_configurations_of_its_state() -> None:
    """α = 4: decided before the crash, in force after it: a write needs nodes 1 and 2 then, and 3 has no vote."""
    cluster = Cluster(paxos={"alpha": 4, "inflight_slots_max": 4})
    leader, *_ = cluster.elect()
    second = Configuration(2, (NodeId(1), NodeId(2)), (NodeId(3),))
    change(cluster, leader, second)
    for node_id in (1, 2, 3):
        cluster.crash(node_id)
    for node_id in (1, 2, 3):
        cluster.start(node_id)
    leader, *_ = cluster.elect()
    assert leader.node_id in (1, 2)
    for number in range(6):
        ticket = leader.replica.write(put(f"k{number}"))
        cluster.run_until(lambda t=ticket: t in leader.results)  # type: ignore[misc]
    assert [g.configuration for g in leader.replica.configurations()] == [second]
    cluster.run_until(cluster.agreed)
    cluster.crash(3)
    ticket = leader.replica.write(put("without 3"))
    cluster.run_until(lambda: ticket in leader.results)
    cluster.crash(3 - leader.node_id)
    ticket = leader.replica.write(put("without a quorum"))
    cluster.run(3.0)
    assert ticket not in leader.results


# Restarts


@pytest.mark.parametrize("size", [1, 3])
def test_a_cluster_that_was_off_has_everything_that_was_answered(size: int) -> None:
    cluster = Cluster(size)
    leader, *_ = cluster.elect()
    for number in range(10):
        ticket = leader.replica.write(put(f"k{number}", str(number)))
        cluster.run_until(lambda t=ticket: t in leader.results)  # type: ignore[misc]
    for node_id in cluster.members:
        cluster.crash(node_id)
    for node_id in cluster.members:
        cluster.start(node_id)
    cluster.elect()
    cluster.run_until(cluster.agreed)
    for member in cluster.up:
        assert [member.value(f"k{number}") for number in range(10)] == [str(number) for number in range(10)]


@pytest.mark.parametrize("size", [1, 3])
def test_a_state_that_is_behind_its_log_catches_up_with_it(size: int) -> None:
    """The log is the durable copy; the state may lose its last transactions. Each slot is applied exactly once (L6)."""
    cluster = Cluster(size)
    leader, *_ = cluster.elect()
    states = {node_id: cluster.copy_of_state(node_id) for node_id in cluster.members}
    ticket = None
    for number in range(5):
        ticket = leader.replica.write(put("k", str(number)))
        cluster.settle()
    assert ticket in leader.results
    cluster.run_until(cluster.agreed)
    hash_before, end_before = leader.store.state_hash, leader.store.applied_end
    for node_id, state in states.items():
        cluster.crash(node_id, state=state)
    for node_id in states:
        cluster.start(node_id)
    assert all(member.store.applied_end < end_before for member in cluster.up)
    cluster.elect()
    cluster.run_until(lambda: all(member.store.applied_end >= end_before for member in cluster.up))
    cluster.run_until(cluster.agreed)
    assert all(member.value("k") == "4" for member in cluster.up)
    assert leader.store.applied_end > end_before or leader.store.state_hash == hash_before


def test_a_state_that_is_ahead_of_its_log_goes_on_from_there() -> None:
    """The leader decided through its followers, who learned of it, and lost its own commit in the crash."""
    cluster = Cluster()
    leader, *_ = cluster.elect()
    cluster.stalled.add(leader.node_id)
    ticket = leader.replica.write(put("k", "v"))
    cluster.settle()
    assert ticket in leader.results
    cluster.run_until(cluster.agreed)
    lost = max(leader.disk.newest)
    del leader.disk.newest[lost]
    end = leader.store.applied_end
    assert end > lost
    cluster.crash(leader.node_id)
    cluster.stalled.clear()
    cluster.start(leader.node_id)
    assert leader.store.applied_end == end
    assert leader.replica.status().decided_end == end
    cluster.elect()
    cluster.run_until(cluster.agreed)
    again = leader.replica.write(put("l"))
    cluster.run_until(lambda: again in leader.results)
    assert leader.value("k") == "v"
    assert lost not in leader.disk.newest, "the hole stays: the state has what was there"


def test_a_replica_that_was_away_for_long_reads_what_it_missed_from_a_log() -> None:
    """The others keep two slots in memory: they answer with ReadLog steps, and pages of what their logs have."""
    cluster = Cluster(paxos={"cached_slots_max": 2, "inflight_slots_max": 2})
    leader, follower, _ = cluster.elect()
    start = follower.store.applied_end
    cluster.crash(follower.node_id)
    for number in range(30):
        leader.replica.write(put(f"k{number}"))
        cluster.settle()
    cluster.start(follower.node_id)
    cluster.run_until(cluster.agreed)
    reads = [step.read for m in cluster.up for turn in m.turns for step in turn if isinstance(step, ReadLog)]
    assert reads[0].requester == follower.node_id
    assert reads[0].start == start
    assert [follower.value(f"k{number}") for number in range(30)] == [""] * 30


def test_a_page_of_the_log_says_how_far_its_sender_is() -> None:
    cluster = Cluster(1)
    (alone,) = cluster.elect()
    for number in range(3):
        alone.replica.write(put(f"k{number}"))
        cluster.settle()
    end = Slot(alone.store.applied_end)
    assert alone.log is not None
    entries = alone.log.read_decided(Slot(0), end, bytes_max=1)
    outgoing = alone.replica.log_page(LogRead(NodeId(2), Slot(0), end), entries)
    assert outgoing.to == 2
    assert outgoing.message == Decided(entries, end)
    assert len(entries) == 1


def test_no_ops_are_applied_like_everything_else() -> None:
    """A gap that a new leader fills is a slot of the state as well: the watermark counts it, nothing else changes."""
    cluster = Cluster(1)
    (alone,) = cluster.elect()
    revision, end = alone.store.revision, alone.store.applied_end
    alone.replica._paxos._propose(Noop(), cluster.now)
    cluster.settle()
    assert (alone.store.revision, alone.store.applied_end) == (revision, end + 1)
    assert cluster.messages(CatchUp) == []


# Whole runs


class Clients:
    """Writers of unique values and readers on random nodes, and what they were told."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.count = 0
        self.asked: dict[tuple[int, int, int], str] = {}
        self.answered: list[str] = []
        self.newest_answered = 0
        self.reads: dict[tuple[int, int, int], int] = {}
        self.reads_allowed = 0

    def act(self) -> None:
        rng = self.cluster.rng
        for member in self.cluster.up:
            if rng.random() < 0.5:
                try:
                    ticket = member.replica.write(put(f"k{self.count}", str(self.count)))
                    self.asked[member.node_id, member.lives, ticket] = f"k{self.count}"
                except Overloaded:
                    pass
                self.count += 1
            if rng.random() < 0.3:
                ticket = member.replica.read()
                self.reads[member.node_id, member.lives, ticket] = self.newest_answered

    def listen(self) -> None:
        """A read sees at least what was answered anywhere before it began (L7)."""
        revisions = [r.header.revision for m in self.cluster.members.values() for r in m.results.values()]  # type: ignore[union-attr]
        for member in self.cluster.up:
            for ticket in member.allowed:
                asked_at = self.reads.pop((member.node_id, member.lives, ticket), None)
                if asked_at is not None:
                    assert member.store.revision >= asked_at
                    self.reads_allowed += 1
            keys = ((self.asked[member.node_id, member.lives, t], r) for t, r in member.results.items())
            self.answered += [key for key, result in keys if isinstance(result, PutResponse)]
        self.newest_answered = max([self.newest_answered, *revisions])


@pytest.mark.parametrize("seed", range(8))
def test_what_was_answered_is_there_whatever_happens(seed: int) -> None:
    """Crashes, cuts, lost messages and hand-overs; then a calm, in which all replicas agree and none is stuck.

    What was answered is in every state; nothing is there twice, though much was sent on and proposed again.
    """
    cluster = Cluster(3, seed=seed, paxos={"cached_slots_max": 4, "inflight_slots_max": 4}, batch_entries_max=4)
    cluster.elect()
    clients = Clients(cluster)
    rng = cluster.rng
    for _ in range(150):
        clients.act()
        dice = rng.random()
        if dice < 0.05:
            cluster.isolate(rng.randint(1, 3))
        elif dice < 0.15:
            cluster.heal()
        elif dice < 0.19 and len(cluster.up) > 1:
            member = rng.choice(cluster.up)
            cluster.crash(member.node_id, state=cluster.copy_of_state(member.node_id))
        elif dice < 0.30:
            for member in cluster.members.values():
                if member.process is None:
                    cluster.start(member.node_id)
        elif dice < 0.33:
            rng.choice(cluster.up).replica.hand_over(cluster.now)
        elif dice < 0.40:
            cluster.wires = [wire for wire in cluster.wires if rng.random() < 0.5]
        cluster.run(rng.choice((0.01, 0.05, 0.3)))
        clients.listen()
    cluster.heal()
    for member in cluster.members.values():
        if member.process is None:
            cluster.start(member.node_id)
    cluster.run_until(lambda: any(m.replica.status().role is Role.LEADER for m in cluster.up))
    cluster.write(cluster[1], put("last"))
    cluster.run_until(cluster.agreed)
    answered = list(dict.fromkeys(clients.answered))
    assert len(answered) > 20
    assert clients.reads_allowed > 10
    for member in cluster.up:
        assert all(member.value(key) == key[1:] for key in answered)
        assert all(member.times_put(key) <= 1 for key in clients.asked.values())
    assert encoded(cluster[1].replica.configurations()) == cluster[1].store.configurations()
