"""The proposer: phase 1 for all slots at once, then phase 2 slot by slot ("Paxos Made Simple", §2.2 and §3).

A node that stands has a candidacy: a ``PhaseOne``, which gathers promises. Once a quorum of every configuration that
governs an undecided slot has promised, it leads: it has a ``Leadership``, which knows the slots in flight. These two
know; the proposer speaks. It asks for promises and for acceptances until they come, adopts what phase 1 found (L4),
proposes, beats, confirms reads (L7), hands over, and gives up when a higher ballot rules or no quorum answers.

When to stand, it is told. Of the acceptor on its own node it knows nothing: that one is asked, and answers, as all are.
"""

from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.configurations import Configurations
from kvstore.paxos.effects import ReadFailed, ReadReady, Role
from kvstore.paxos.election import Election
from kvstore.paxos.errors import NotLeader, WindowFull
from kvstore.paxos.gate import Gate
from kvstore.paxos.leadership import Leadership, Transferring
from kvstore.paxos.learner import Learner
from kvstore.paxos.messages import Accept, Accepted, Heartbeat, HeartbeatReply, Nack, Prepare, Promise, Transfer
from kvstore.paxos.outbox import Outbox
from kvstore.paxos.phase_one import PhaseOne
from kvstore.paxos.types import Ballot, Configuration, NodeId, ProposalId, ReadId, Slot, Value

__all__ = ["Proposer"]


class Proposer:
    def __init__(self, config: PaxosConfig, gate: Gate, outbox: Outbox, learner: Learner, election: Election) -> None:
        self._config = config
        self._me = config.node_id
        self._gate = gate
        self._outbox = outbox
        self._learner = learner
        self._election = election
        self._candidacy: PhaseOne | None = None
        self._leadership: Leadership | None = None
        self._next_proposal_id = 1
        self._next_read_id = 1
        self._reads_ready: list[ReadReady] = []
        self._reads_failed: list[ReadFailed] = []

    @property
    def role(self) -> Role:
        """What this node is: a follower where it neither stands nor leads."""
        if self._leadership is not None:
            return Role.LEADER
        return Role.CANDIDATE if self._candidacy is not None else Role.FOLLOWER

    @property
    def next_deadline(self) -> float:
        """When something is to be sent again, or a heartbeat is due, or a handover has failed."""
        if self._leadership is not None:
            return self._leadership.next_deadline
        return self._candidacy.resend_at if self._candidacy is not None else float("inf")

    def check_invariants(self, *, promised: Ballot) -> None:
        assert self._candidacy is None or self._leadership is None
        phase_one = self._phase_one
        assert phase_one is None or phase_one.ballot == self._election.ballot, "whoever knows of a higher one gave up"
        if self._leadership is not None:
            assert self._leadership.ballot == promised, "a leader that promised a higher ballot stepped down"
            for slot in self._leadership.in_flight:
                assert self._learner.decided_end <= slot < self._learner.decided_end + self._config.alpha

    # Phase 1

    def stand(self, ballot: Ballot, *, released: Ballot | None, now: float) -> Prepare:
        """Begins a candidacy. Its Prepare is for this node's own acceptor, before any other is asked (L2, L3)."""
        self._candidacy = PhaseOne(ballot, self._learner.decided_end, released=released)
        self._election.set_leader(None, ballot)
        self._election.wait_full(now)
        return Prepare(ballot, self._learner.decided_end, released)

    def ask_for_promises(self, now: float) -> None:
        """Asks the voters whose promises are lacking, now and every ``resend_s``; it waits for our own promise (L2)."""
        phase_one = self._phase_one
        assert phase_one is not None
        lacking = self._configurations.undecided(self._learner.decided_end)
        if self._leadership is not None:
            lacking = self._leadership.unprepared(self._learner.decided_end)
        phase_one.resend_at = now + self._config.resend_s if lacking else float("inf")
        for voter in dict.fromkeys(v for c in lacking for v in c.voters):
            wanted = phase_one.wanted(voter)
            if voter != self._me and wanted is not None:
                self._outbox.send_when_durable(voter, Prepare(phase_one.ballot, wanted, phase_one.released))

    def on_promise(self, sender: NodeId, message: Promise, now: float) -> None:
        phase_one = self._phase_one
        if phase_one is None or phase_one.ballot != message.ballot or not phase_one.receive(sender, message):
            return
        wanted = phase_one.wanted(sender)
        if wanted is not None:
            assert self._gate.durable_promise >= phase_one.ballot
            if self._candidacy:
                self._election.wait_full(now)  # it advances, however long it takes
            self._outbox.send(sender, Prepare(phase_one.ballot, wanted, phase_one.released))
        elif self._candidacy and self._is_promised(phase_one):
            self._lead(phase_one, now)

    def _is_promised(self, phase_one: PhaseOne) -> bool:
        return self._configurations.quorum_everywhere(self._learner.decided_end, phase_one.promised_by)

    def _lead(self, phase_one: PhaseOne, now: float) -> None:
        self._candidacy = None
        self._leadership = Leadership(
            self._me, phase_one, self._configurations, decided_end=self._learner.decided_end, now=now
        )
        phase_one.resend_at = float("inf")
        self._election.set_leader(self._me, phase_one.ballot)

    # Giving up

    def on_nack(self, message: Nack, now: float) -> None:
        self._election.saw(message.promised)
        phase_one = self._phase_one
        if phase_one is not None and message.promised > phase_one.ballot:
            self.resign(now)
            self._election.wait_after_nack(now)

    def yield_to(self, ballot: Ballot, now: float) -> None:
        """Somebody stands or leads in ``ballot``, and our acceptor may be bound to it."""
        phase_one = self._phase_one
        if phase_one is not None and ballot > phase_one.ballot:
            self.resign(now)

    def resign(self, now: float) -> None:
        """Stops standing or leading. What is in flight may still be decided by others, so its fate stays open."""
        if self._leadership is not None:
            self._reads_failed += [ReadFailed(read_id) for read_id in self._leadership.take_all_reads()]
        self._candidacy = None
        self._leadership = None
        if self._election.leader == self._me:
            self._election.forget_leader()
        self._election.wait_full(now)

    # Phase 2

    @property
    def window_free(self) -> int:
        """How many slots may be proposed now, on top of what this leader inherited."""
        leadership = self._leadership
        if leadership is None or leadership.transferring is not None or leadership.inherited() is not None:
            return 0
        if not leadership.may_propose(leadership.next_slot):
            return 0
        return max(0, self._learner.decided_end + self._config.inflight_slots_max - leadership.next_slot)

    def propose(self, value: Value, now: float) -> ProposalId:
        """Proposes ``value`` in the next slot. Raises NotLeader(hint) or WindowFull; then nothing was proposed."""
        leadership = self._leadership
        if leadership is None:
            raise NotLeader(self._election.leader)
        if leadership.transferring is not None:
            raise NotLeader(leadership.transferring.target)
        if self.window_free == 0:
            raise WindowFull
        proposal_id = ProposalId(self._next_proposal_id)
        self._next_proposal_id += 1
        self._learner.proposed(leadership.next_slot, proposal_id, value)
        self._send_accepts(leadership, value, now)
        return proposal_id

    def propose_inherited(self, now: float) -> None:
        """Proposes what phase 1 found, in slot order, as far as the window allows (L4)."""
        leadership = self._leadership
        if leadership is None:
            return
        while (value := leadership.inherited()) is not None:
            if leadership.next_slot >= self._learner.decided_end + self._config.inflight_slots_max:
                return
            if not leadership.may_propose(leadership.next_slot):
                return
            self._send_accepts(leadership, value, now)

    def _send_accepts(self, leadership: Leadership, value: Value, now: float) -> None:
        slot = leadership.propose(value, now=now, resend_s=self._config.resend_s)
        accept = Accept(leadership.ballot, slot, value, self._learner.decided_end)
        for member in self._configurations.at(slot).members:
            self._outbox.send(member, accept)
        leadership.announced(self._learner.decided_end)

    def on_accepted(self, sender: NodeId, message: Accepted) -> None:
        if self._leadership is not None and message.ballot == self._leadership.ballot:
            self._leadership.accepted(sender, start=message.start, end=message.end)

    def decide_chosen(self, now: float) -> None:
        """Decides, in slot order, what a quorum has accepted in this ballot."""
        leadership = self._leadership
        if leadership is None:
            return
        before = self._learner.decided_end
        while (flight := leadership.in_flight.get(self._learner.decided_end)) is not None and flight.chosen:
            if not self._learner.decide_chosen(flight.value, ballot=leadership.ballot):
                break
        if self._learner.decided_end > before:
            leadership.announce_by(now + self._config.announce_delay_s)

    def decided(self, slot: Slot, value: Value, now: float) -> None:
        """``slot`` is decided here, for whatever reason."""
        if self._leadership is not None and self._leadership.is_contradicted(slot, value):
            self.resign(now)
        if self._leadership is not None:
            self._leadership.decided(slot, value, now=now)
        if isinstance(value, Configuration) and (phase_one := self._phase_one) is not None:
            phase_one.resend_at = now

    # Leading

    def tick(self, now: float) -> None:
        """Time has passed: a leader that leads nobody steps down; what got no answer is sent again."""
        if self._leadership is not None:
            self._tick_leader(self._leadership, now)
        if (phase_one := self._phase_one) is not None and now >= phase_one.resend_at:
            self.ask_for_promises(now)

    def _tick_leader(self, leadership: Leadership, now: float) -> None:
        decided_end = self._learner.decided_end
        heard_at = leadership.quorum_heard_at(decided_end, now=now)
        handover_failed = leadership.transferring and now >= leadership.transferring.deadline
        # Who reported slots that we may not propose (L4) may be gone: another phase 1 asks those who are there.
        stalled = (
            decided_end < leadership.phase_one.start_slot
            and now - leadership.advanced_at >= 2 * self._config.election_timeout_s
        )
        if now - heard_at >= self._config.election_timeout_s or handover_failed or stalled:
            self.resign(now)
            return
        for slot, flight in leadership.due_for_resend(now, wait_max_s=self._config.election_timeout_s):
            accept = Accept(leadership.ballot, slot, flight.value, decided_end)
            for member in self._configurations.at(slot).members:
                if member != self._me and member not in flight.accepted_by:
                    self._outbox.send(member, accept)

    def announce_decided(self, now: float) -> None:
        """Tells followers with the next drain what is decided, if nothing has told them yet."""
        if self._leadership is not None and self._leadership.announced_end < self._learner.decided_end:
            self._leadership.announce_by(now)

    def beat(self, now: float) -> None:
        """A Heartbeat for whatever asks for one: the interval, a read that waits, news that nothing carried yet."""
        self.answer_reads(now)
        leadership = self._leadership
        if leadership is None or not leadership.is_beat_due(now):
            return
        decided_end = self._learner.decided_end
        leadership.read_round += 1
        beat = Heartbeat(leadership.ballot, decided_end, leadership.read_round, now)
        for member in self._configurations.members(decided_end):
            if member != self._me:
                self._outbox.send(member, beat)
        leadership.heartbeat_at = now + self._config.heartbeat_s
        leadership.announced(decided_end)
        self.answer_reads(now)

    def on_heartbeat_reply(self, sender: NodeId, message: HeartbeatReply) -> None:
        leadership = self._leadership
        if leadership is None or message.ballot != leadership.ballot:
            return
        # Who grants may restart, and then knows the newest configuration's lease only.
        lease_s = min(message.lease_s, self._configurations.lease_s(self._learner.decided_end))
        leadership.heard(
            sender,
            sent_at=message.sent_at,
            read_round=message.read_round,
            decided_end=message.decided_end,
            lease_until=message.sent_at + lease_s * (1 - self._config.clock_drift_max),
        )

    # Reads

    def confirm_leadership(self) -> ReadId:
        """Begins a linearizable read (L7). Raises NotLeader(hint)."""
        if self._leadership is None:
            raise NotLeader(self._election.leader)
        read_id = ReadId(self._next_read_id)
        self._next_read_id += 1
        self._leadership.add_read(read_id, index=self._learner.decided_end)
        return read_id

    def answer_reads(self, now: float) -> None:
        if self._leadership is not None:
            self._reads_ready += self._leadership.take_confirmed_reads(self._learner.decided_end, now=now)

    def take_reads_ready(self) -> tuple[ReadReady, ...]:
        ready = tuple(self._reads_ready)
        self._reads_ready.clear()
        return ready

    def take_reads_failed(self) -> tuple[ReadFailed, ...]:
        failed = tuple(self._reads_failed)
        self._reads_failed.clear()
        return failed

    # Handing over

    def transfer(self, target: NodeId, now: float) -> None:
        """From now on nothing new is proposed. Raises NotLeader(hint)."""
        if self._leadership is None:
            raise NotLeader(self._election.leader)
        assert target != self._me
        self._leadership.transferring = Transferring(target, now + self._config.election_timeout_s)

    def hand_over(self) -> None:
        """Asks the successor to lead, once nothing is in flight."""
        leadership = self._leadership
        if leadership is None or leadership.transferring is None or leadership.transferring.sent:
            return
        if leadership.in_flight or leadership.inherited() is not None:
            return
        leadership.transferring.sent = True
        self._outbox.send(leadership.transferring.target, Transfer(leadership.ballot))

    def successor(self, now: float) -> NodeId | None:
        """Who could take over soonest, if this node leads and anyone could."""
        if self._leadership is None:
            return None
        voters = self._configurations.at(self._learner.decided_end).voters
        return self._leadership.successor(voters, now=now, heard_within_s=self._config.election_timeout_s)

    # Small questions

    @property
    def _phase_one(self) -> PhaseOne | None:
        """Of the ballot in which this node stands or leads."""
        return self._leadership.phase_one if self._leadership is not None else self._candidacy

    @property
    def _configurations(self) -> Configurations:
        return self._learner.configurations
