"""Multi-Paxos as one passive object: inputs change it, one call drains it.

Time is an argument, chance is an injected ``Random``; it does no I/O and starts nothing. Bytes are proposed, bytes are
decided: it knows nothing of keys. The roles of "Paxos Made Simple" live in rooms of their own: ``acceptor`` (promises
and accepts), ``phase_one`` and ``leadership`` (the proposer), ``election`` (when to try). This module is what connects
them. ``learner`` decides in slot order, without gaps (L6).

A message to oneself takes the same way as any other, through the same gate, so that a leader's own acceptance counts
only once it is durable (L2).
"""

from random import Random
from typing import assert_never

from kvstore.paxos.acceptor import Acceptor
from kvstore.paxos.catch_up import CatchUpState
from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.configurations import Configurations
from kvstore.paxos.durable import DurableState, GoverningConfiguration
from kvstore.paxos.effects import (
    Effects,
    LeadershipChanged,
    LogRead,
    ReadFailed,
    ReadReady,
    Role,
    Status,
)
from kvstore.paxos.election import Election
from kvstore.paxos.errors import NotLeader, WindowFull
from kvstore.paxos.gate import Gate
from kvstore.paxos.leadership import Leadership, Transferring
from kvstore.paxos.learner import Learner
from kvstore.paxos.lease import LeaseGrants
from kvstore.paxos.messages import (
    Accept,
    Accepted,
    CatchUp,
    Decided,
    Heartbeat,
    HeartbeatReply,
    Message,
    Nack,
    Prepare,
    Promise,
    SnapshotOffer,
    Suspect,
    SuspectReply,
    Transfer,
)
from kvstore.paxos.outbox import Outbox
from kvstore.paxos.phase_one import PhaseOne
from kvstore.paxos.types import (
    ZERO_BALLOT,
    Application,
    Ballot,
    Configuration,
    NodeId,
    ProposalId,
    ReadId,
    Slot,
    Value,
    WriteId,
)

__all__ = ["Paxos"]


class Paxos:
    def __init__(self, config: PaxosConfig, recovered: DurableState, *, rng: Random, now: float) -> None:
        self._config = config
        self._me = config.node_id
        self._now = now
        self._gate = Gate(durable_promise=recovered.promised)
        self._acceptor = Acceptor(
            self._gate,
            promised=recovered.promised,
            accepted={slot: known for slot, known in recovered.accepted.items() if slot >= recovered.decided_end},
            first_slot=recovered.first_slot,
        )
        self._learner = Learner(config, recovered, self._acceptor, self._on_slot_decided)
        self._lease_grants = LeaseGrants(restarted_until=now + recovered.lease_s)
        self._lease_known = self._gate.horizon
        """The write that lets a restart know how long this node's grants may be."""
        self._outbox = Outbox(self._me, self._gate)
        self._election = Election(config, rng, now=now)
        self._election.wait_at_start(now)
        self._catch_up = CatchUpState(retry_s=config.election_timeout_s / 2)

        self._leader: NodeId | None = None
        self._leader_ballot = ZERO_BALLOT
        self._highest_seen = recovered.promised
        self._candidacy: PhaseOne | None = None
        self._leadership: Leadership | None = None
        self._prepare_resend_at = float("inf")
        self._heartbeat_at = float("inf")
        self._announced_end = recovered.decided_end
        self._announce_at = float("inf")

        self._next_proposal_id = 1
        self._next_read_id = 1

        self._reads_ready: list[ReadReady] = []
        self._reads_failed: list[ReadFailed] = []
        self._log_reads: list[LogRead] = []
        self._leadership_reported: tuple[NodeId | None, Role, Ballot] = (None, Role.FOLLOWER, ZERO_BALLOT)
        self._learner.decide_learned()

    # Inputs

    def receive(self, sender: NodeId, message: Message, now: float) -> None:
        """A message from another node, in whatever order and however often the network brings it."""
        self._advance(now)
        self._dispatch(sender, message)
        self._settle()

    def propose(self, value: bytes, now: float) -> ProposalId:
        """Proposes ``value`` in the next slot. Raises NotLeader(hint) or WindowFull; then nothing was proposed.

        Callers make values unique: equal bytes decided in the slot count as this proposal.
        """
        return self._propose(Application(value), now)

    def propose_configuration(self, configuration: Configuration, now: float) -> ProposalId:
        """Like ``propose``; decided in slot s, the configuration governs the slots from s + α on."""
        return self._propose(configuration, now)

    def confirm_leadership(self, now: float) -> ReadId:
        """Begins a linearizable read (L7): ReadReady or ReadFailed will name it. Raises NotLeader(hint)."""
        self._advance(now)
        if self._leadership is None:
            raise NotLeader(self._leader)
        read_id = ReadId(self._next_read_id)
        self._next_read_id += 1
        self._leadership.add_read(read_id, index=self._decided_end)
        return read_id

    def announce_decided(self, now: float) -> None:
        """Somebody waits for followers to learn what is decided: tell them with this drain."""
        self._advance(now)
        if self._leadership is not None and self._announced_end < self._decided_end:
            self._announce_at = now

    def transfer(self, target: NodeId, now: float) -> None:
        """Hands over to ``target``: nothing new is proposed, and once nothing is in flight it is asked to lead."""
        self._advance(now)
        if self._leadership is None:
            raise NotLeader(self._leader)
        assert target != self._me
        self._leadership.transferring = Transferring(target, now + self._config.election_timeout_s)
        self._settle()

    def link_lost(self, node_id: NodeId, now: float) -> None:
        """A hint, not a fact: the connection to ``node_id`` broke. If it led, doubt it at once."""
        self._advance(now)
        if self._role is Role.FOLLOWER and self._leader == node_id:
            self._election.lost_leader(now)

    def tick(self, now: float) -> None:
        """Time has passed. To be called at ``next_deadline`` at the latest."""
        self._advance(now)
        match self._role:
            case Role.LEADER:
                self._tick_leader()
            case Role.CANDIDATE:
                self._tick_candidate()
            case Role.FOLLOWER:
                self._tick_follower()
        self._settle()

    def persisted(self, write_id: WriteId, now: float) -> None:
        """Every write up to ``write_id`` is on the disk."""
        self._advance(now)
        self._outbox.persisted(write_id)
        self._settle()

    def installed(self, *, decided_end: Slot, configurations: tuple[GoverningConfiguration, ...], now: float) -> None:
        """A snapshot took effect: the state contains every slot below ``decided_end``."""
        self._advance(now)
        if decided_end <= self._decided_end:
            return
        self._resign()
        self._learner.installed(decided_end, configurations)
        self._settle()

    def compacted(self, *, first_slot: Slot) -> None:
        """The log was cut: slots below ``first_slot`` exist only in the state (L10)."""
        assert self._acceptor.first_slot <= first_slot <= self._decided_end
        self._acceptor.first_slot = first_slot
        self._learner.compacted(first_slot)

    # Outputs

    def take_effects(self) -> Effects:
        """Drains: everything that is to be done since the last call, exactly once."""
        self._beat()
        effects = Effects(
            write=self._gate.take_write(),
            messages=self._outbox.take(),
            decided=self._learner.take_decided(),
            proposals_lost=self._learner.take_lost(),
            reads_ready=tuple(self._reads_ready),
            reads_failed=tuple(self._reads_failed),
            log_reads=tuple(self._log_reads),
            leadership=self._leadership_change(),
        )
        for drained in (self._reads_ready, self._reads_failed, self._log_reads):
            drained.clear()
        return effects

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do; None: never, unless an input comes."""
        deadlines = [self._catch_up.retry_at if self._catch_up.retry_at is not None else float("inf")]
        if self._leadership is not None:
            deadlines += [self._heartbeat_at, self._announce_at, self._prepare_resend_at]
            deadlines += [flight.resend_at for flight in self._leadership.in_flight.values()]
            if self._leadership.transferring:
                deadlines.append(self._leadership.transferring.deadline)
        else:
            deadlines += [self._election.deadline, self._prepare_resend_at]
        soonest = min(deadlines)
        return None if soonest == float("inf") else soonest

    @property
    def window_free(self) -> int:
        """How many slots may be proposed now; 0 on a node that does not lead."""
        return self._window_free()

    def status(self) -> Status:
        return Status(
            node_id=self._me,
            role=self._role,
            leader=self._leader,
            ballot=self._ballot,
            promised=self._gate.durable_promise,
            decided_end=self._decided_end,
            first_slot=self._acceptor.first_slot,
            configuration_epoch=self._configurations.at(self._decided_end).epoch,
            window_free=self._window_free(),
        )

    def configurations(self) -> tuple[GoverningConfiguration, ...]:
        """Those that govern an undecided slot, as snapshots and ``DurableState`` carry them."""
        return self._configurations.snapshot()

    def successor(self) -> NodeId | None:
        """Who could take over soonest, if this node leads and anyone could."""
        if self._leadership is None:
            return None
        return self._leadership.successor(
            self._configurations.at(self._decided_end).voters,
            now=self._now,
            heard_within_s=self._config.election_timeout_s,
        )

    def check_invariants(self) -> None:
        """Asserts what must hold between any two inputs; the simulator calls it after each."""
        acceptor = self._acceptor
        for slot, known in acceptor.accepted.items():
            assert known.learned or known.ballot <= acceptor.promised, f"slot {slot} accepted above the promise (L1)"
        assert self._gate.durable_promise <= acceptor.promised
        assert acceptor.first_slot <= self._learner.cache_start <= self._decided_end
        assert not (self._candidacy and self._leadership)
        if self._leadership is not None:
            assert self._leadership.ballot == acceptor.promised, "a leader that promised a higher ballot stepped down"
            for slot in self._leadership.in_flight:
                assert self._decided_end <= slot < self._decided_end + self._config.alpha
        assert not self._outbox.to_self

    # Dispatch

    def _advance(self, now: float) -> None:
        self._now = max(self._now, now)

    def _dispatch(self, sender: NodeId, message: Message) -> None:
        match message:
            case Accept():
                self._on_accept(sender, message)
            case Accepted():
                self._on_accepted(sender, message)
            case Heartbeat():
                self._on_heartbeat(sender, message)
            case HeartbeatReply():
                self._on_heartbeat_reply(sender, message)
            case Prepare():
                self._on_prepare(sender, message)
            case Promise():
                self._on_promise(sender, message)
            case Nack():
                self._on_nack(message)
            case Suspect():
                self._on_suspect(sender, message)
            case SuspectReply():
                self._on_suspect_reply(sender, message)
            case CatchUp():
                self._on_catch_up(sender, message)
            case Decided():
                self._on_decided(sender, message)
            case SnapshotOffer():
                self._catch_up.answered(useful=False, others=self._sources)
            case Transfer():
                self._on_transfer(message)
            case _:
                assert_never(message)

    def _settle(self) -> None:
        """Follows what an input set in motion to its end: own messages, slots chosen, slots free, gaps to ask for."""
        while True:
            while self._outbox.to_self:
                self._dispatch(self._me, self._outbox.to_self.popleft())
            self._decide_chosen()
            self._propose_inherited()
            if not self._outbox.to_self:
                break
        self._learner.decide_learned()
        self._answer_reads()
        self._hand_over()
        learned_end = self._learner.learned_end
        source = self._catch_up.ask(decided_end=learned_end, others=self._sources, now=self._now)
        if source is not None:
            self._outbox.send(source, CatchUp(learned_end))

    # Elections

    def _tick_follower(self) -> None:
        if self._now < self._election.deadline:
            return
        if self._is_voter:
            self._doubt_leader()
            return
        # It hears no leader and may not stand; it may be a voter without having learned it yet.
        self._election.wait_full(self._now)
        source = self._catch_up.probe(self._sources)
        if source is not None:
            self._outbox.send(source, CatchUp(self._learner.learned_end))

    def _doubt_leader(self) -> None:
        self._set_leader(None, self._leader_ballot)
        suspicion = self._election.begin_suspicion(self._me, self._now)
        for voter in self._configurations.voters(self._decided_end):
            if voter != self._me:
                self._outbox.send(voter, Suspect(suspicion))
        self._stand_if_doubted()

    def _on_suspect(self, sender: NodeId, message: Suspect) -> None:
        # Who asks does not lead, not even if it did a moment ago.
        hears_leader = self._leadership is not None or (
            self._leader not in (None, sender) and self._election.hears_leader(self._now)
        )
        if not hears_leader:
            self._election.answered_doubt(self._now)
        self._outbox.send(
            sender, SuspectReply(message.suspicion, hears_leader, self._acceptor.promised, self._decided_end)
        )

    def _on_suspect_reply(self, sender: NodeId, message: SuspectReply) -> None:
        self._catch_up.hear(sender, message.decided_end)
        self._highest_seen = max(self._highest_seen, message.promised)
        if message.suspicion != self._election.suspicion or self._election.doubters is None:
            return
        if message.hears_leader:
            return
        self._election.doubters[sender] = None
        self._stand_if_doubted()

    def _stand_if_doubted(self) -> None:
        doubters = self._election.doubters
        if doubters is not None and self._configurations.quorum_everywhere(self._decided_end, doubters):
            self._stand()

    def _stand(self, *, released: Ballot | None = None) -> None:
        """Raises a new round. Its Prepare leaves once our own promise is durable (L2, L3)."""
        self._election.end_suspicion()
        if self._lease_grants.forbids(released=released, now=self._now):
            self._election.deadline = self._lease_grants.until
            return
        highest = max(self._acceptor.promised, self._highest_seen)
        ballot = Ballot(highest.round + 1, self._me)
        self._highest_seen = ballot
        self._candidacy = PhaseOne(ballot, self._decided_end)
        self._set_leader(None, ballot)
        self._election.wait_full(self._now)
        self._prepare_resend_at = self._now + self._config.resend_s
        self._candidacy.released = released
        prepare = Prepare(ballot, self._decided_end, released)
        self._on_prepare(self._me, prepare)
        for voter in self._configurations.voters(self._decided_end):
            if voter != self._me:
                self._outbox.send_when_durable(voter, prepare)

    def _tick_candidate(self) -> None:
        assert self._candidacy is not None
        if self._now >= self._election.deadline:
            self._resign()
            if self._is_voter:
                self._doubt_leader()
        else:
            self._resend_prepares(self._candidacy, self._configurations.undecided(self._decided_end))

    def _resend_prepares(self, phase_one: PhaseOne, configurations: tuple[Configuration, ...]) -> None:
        """Asks on for the promises that are lacking among the voters of ``configurations``."""
        if self._now < self._prepare_resend_at:
            return
        self._prepare_resend_at = self._now + self._config.resend_s if configurations else float("inf")
        for voter in dict.fromkeys(v for c in configurations for v in c.voters):
            wanted = phase_one.wanted(voter)
            if voter != self._me and wanted is not None:
                self._outbox.send_when_durable(voter, Prepare(phase_one.ballot, wanted, phase_one.released))

    def _on_prepare(self, sender: NodeId, message: Prepare) -> None:
        if message.ballot < self._acceptor.promised:
            self._outbox.send(sender, Nack(self._acceptor.promised))
            return
        if message.ballot > self._acceptor.promised:
            if self._lease_grants.forbids(released=message.released, now=self._now, ballot=message.ballot):
                return  # a hint would make it raise its round; it asks again by itself
            if sender != self._me:
                self._yield_to(message.ballot)
                self._set_leader(None, message.ballot)
                self._election.end_suspicion()
                self._election.wait_full(self._now)
            self._acceptor.prepare(message.ballot)
        entries, next_slot = self._acceptor.page(
            max(message.from_slot, self._decided_end),
            entries_max=self._config.page_entries_max,
            bytes_max=self._config.page_bytes_max,
        )
        self._outbox.send_when_durable(
            sender,
            Promise(
                ballot=message.ballot,
                from_slot=message.from_slot,
                accepted=entries,
                next_slot=next_slot,
                decided_end=self._decided_end,
                first_slot=self._acceptor.first_slot,
            ),
        )

    def _on_promise(self, sender: NodeId, message: Promise) -> None:
        self._catch_up.hear(sender, message.decided_end)
        phase_one = self._leadership.phase_one if self._leadership else self._candidacy
        if phase_one is None or phase_one.ballot != message.ballot or not phase_one.receive(sender, message):
            return
        wanted = phase_one.wanted(sender)
        if wanted is not None:
            assert self._gate.durable_promise >= phase_one.ballot
            self._outbox.send(sender, Prepare(phase_one.ballot, wanted, phase_one.released))
        elif self._candidacy and self._configurations.quorum_everywhere(self._decided_end, phase_one.promised_by):
            self._lead(phase_one)

    def _lead(self, phase_one: PhaseOne) -> None:
        self._candidacy = None
        self._leadership = Leadership(
            self._me, phase_one, self._configurations, decided_end=self._decided_end, now=self._now
        )
        self._set_leader(self._me, phase_one.ballot)
        self._prepare_resend_at = float("inf")
        self._heartbeat_at = self._now

    def _on_nack(self, message: Nack) -> None:
        self._highest_seen = max(self._highest_seen, message.promised)
        if self._role is not Role.FOLLOWER and message.promised > self._ballot:
            self._resign()
            self._election.wait_after_nack(self._now)

    def _on_transfer(self, message: Transfer) -> None:
        if message.ballot < self._acceptor.promised or self._role is not Role.FOLLOWER or not self._is_voter:
            return
        self._stand(released=message.ballot)

    def _yield_to(self, ballot: Ballot) -> None:
        if self._role is not Role.FOLLOWER and ballot > self._ballot:
            self._resign()

    def _resign(self) -> None:
        """Stops standing or leading. What is in flight may still be decided by others, so its fate stays open."""
        if self._leadership is not None:
            self._reads_failed += [ReadFailed(read_id) for read_id in self._leadership.take_all_reads()]
        self._candidacy = None
        self._leadership = None
        self._heartbeat_at = self._announce_at = self._prepare_resend_at = float("inf")
        if self._leader == self._me:
            self._set_leader(None, self._leader_ballot)
        self._election.wait_full(self._now)

    def _follow(self, ballot: Ballot) -> None:
        """A message that only the leader of ``ballot`` sends, and our promise does not forbid."""
        self._yield_to(ballot)
        # A leader that outranks it, but was never promised anything here, may be gone and its ballot with it.
        if ballot >= self._leader_ballot or not self._election.hears_leader(self._now):
            self._set_leader(ballot.node_id, ballot)
            self._election.heard_leader(self._now)

    def _set_leader(self, leader: NodeId | None, ballot: Ballot) -> None:
        self._leader = leader
        self._leader_ballot = ballot
        self._highest_seen = max(self._highest_seen, ballot)

    # Leading

    def _tick_leader(self) -> None:
        leadership = self._leadership
        assert leadership is not None
        heard_at = leadership.quorum_heard_at(self._decided_end, now=self._now)
        handover_failed = leadership.transferring and self._now >= leadership.transferring.deadline
        # Who reported slots that we may not propose (L4) may be gone: another phase 1 asks those who are there.
        stalled = (
            self._decided_end < leadership.phase_one.start_slot
            and self._now - leadership.advanced_at >= 2 * self._config.election_timeout_s
        )
        if self._now - heard_at >= self._config.election_timeout_s or handover_failed or stalled:
            self._resign()
            return
        for slot, flight in leadership.due_for_resend(self._now, wait_max_s=self._config.election_timeout_s):
            accept = Accept(leadership.ballot, slot, flight.value, self._decided_end)
            for member in self._configurations.at(slot).members:
                if member != self._me and member not in flight.accepted_by:
                    self._outbox.send(member, accept)
        self._resend_prepares(leadership.phase_one, leadership.unprepared(self._decided_end))

    def _propose(self, value: Value, now: float) -> ProposalId:
        self._advance(now)
        leadership = self._leadership
        if leadership is None:
            raise NotLeader(self._leader)
        if leadership.transferring is not None:
            raise NotLeader(leadership.transferring.target)
        if self._window_free() == 0:
            raise WindowFull
        proposal_id = ProposalId(self._next_proposal_id)
        self._next_proposal_id += 1
        self._learner.proposed(leadership.next_slot, proposal_id, value)
        self._send_accepts(leadership, value)
        self._settle()
        return proposal_id

    def _window_free(self) -> int:
        """How many slots may be proposed now, on top of what this leader inherited."""
        leadership = self._leadership
        if leadership is None or leadership.transferring is not None or leadership.inherited() is not None:
            return 0
        if not leadership.may_propose(leadership.next_slot):
            return 0
        return max(0, self._decided_end + self._config.inflight_slots_max - leadership.next_slot)

    def _propose_inherited(self) -> None:
        """Proposes what phase 1 found, in slot order, as far as the window allows (L4)."""
        leadership = self._leadership
        if leadership is None:
            return
        while (value := leadership.inherited()) is not None:
            if leadership.next_slot >= self._decided_end + self._config.inflight_slots_max:
                return
            if not leadership.may_propose(leadership.next_slot):
                return
            self._send_accepts(leadership, value)

    def _send_accepts(self, leadership: Leadership, value: Value) -> None:
        slot = leadership.propose(value, now=self._now, resend_s=self._config.resend_s)
        accept = Accept(leadership.ballot, slot, value, self._decided_end)
        for member in self._configurations.at(slot).members:
            self._outbox.send(member, accept)
        self._announced_end = self._decided_end
        self._announce_at = float("inf")

    def _hand_over(self) -> None:
        leadership = self._leadership
        if leadership is None or leadership.transferring is None or leadership.transferring.sent:
            return
        if leadership.in_flight or leadership.inherited() is not None:
            return
        leadership.transferring.sent = True
        self._outbox.send(leadership.transferring.target, Transfer(leadership.ballot))

    def _beat(self) -> None:
        """A Heartbeat for whatever asks for one: the interval, a read that waits, news that nothing carried yet."""
        self._answer_reads()
        leadership = self._leadership
        if leadership is None:
            return
        if self._now < min(self._heartbeat_at, self._announce_at) and not leadership.has_unasked_reads:
            return
        leadership.read_round += 1
        beat = Heartbeat(leadership.ballot, self._decided_end, leadership.read_round, self._now)
        for member in self._others:
            self._outbox.send(member, beat)
        self._heartbeat_at = self._now + self._config.heartbeat_s
        self._announced_end = self._decided_end
        self._announce_at = float("inf")
        self._answer_reads()

    def _answer_reads(self) -> None:
        if self._leadership is not None:
            self._reads_ready += self._leadership.take_confirmed_reads(self._decided_end, now=self._now)

    def _on_heartbeat_reply(self, sender: NodeId, message: HeartbeatReply) -> None:
        self._catch_up.hear(sender, message.decided_end)
        leadership = self._leadership
        if leadership is None or message.ballot != leadership.ballot:
            return
        # Who grants may restart, and then knows the newest configuration's lease only.
        lease_s = min(message.lease_s, self._configurations.lease_s(self._decided_end))
        leadership.heard(
            sender,
            sent_at=message.sent_at,
            read_round=message.read_round,
            decided_end=message.decided_end,
            lease_until=message.sent_at + lease_s * (1 - self._config.clock_drift_max),
        )

    def _on_accepted(self, sender: NodeId, message: Accepted) -> None:
        if self._leadership is not None and message.ballot == self._leadership.ballot:
            self._leadership.accepted(sender, start=message.start, end=message.end)

    # Following

    def _on_accept(self, sender: NodeId, message: Accept) -> None:
        if message.ballot < self._acceptor.promised:
            self._outbox.send(sender, Nack(self._acceptor.promised))
            return
        if sender != self._me:
            self._follow(message.ballot)
        if message.slot < self._acceptor.first_slot:
            return  # only the state has it (L4); the leader learns that from our Promise
        # A ballot that our promise allows may still be an old one, with a value that lost: what is decided stays.
        # What is far ahead would have to be kept for long. A leader must accept all that it proposes, and a follower,
        # which hears of a decided window only with the next one, two windows of it.
        near_slots_max = max(self._config.cached_slots_max, 2 * self._config.inflight_slots_max)
        is_near = message.slot < self._decided_end + near_slots_max
        if (
            is_near
            and not self._learner.refutes(message.slot, message.value)
            and self._acceptor.accept(message.ballot, message.slot, message.value)
        ):
            self._outbox.send_when_durable(sender, Accepted(message.ballot, message.slot, Slot(message.slot + 1)))
        self._take_decided_end(sender, message.ballot, message.decided_end)

    def _on_heartbeat(self, sender: NodeId, message: Heartbeat) -> None:
        if message.ballot < self._acceptor.promised:
            self._outbox.send(sender, Nack(self._acceptor.promised))
            return
        self._follow(message.ballot)
        self._take_decided_end(sender, message.ballot, message.decided_end)
        lease_s = self._configurations.lease_s(self._decided_end) if self._gate.is_durable(self._lease_known) else 0.0
        if lease_s and not self._lease_grants.grant(message.ballot, until=self._now + lease_s):
            lease_s = 0.0
        self._outbox.send(
            sender, HeartbeatReply(message.ballot, message.read_round, message.sent_at, self._decided_end, lease_s)
        )

    def _take_decided_end(self, source: NodeId, ballot: Ballot, end: Slot) -> None:
        self._catch_up.hear(source, end)
        self._learner.decide_below(end, ballot=ballot)

    # Learning

    def _decide_chosen(self) -> None:
        leadership = self._leadership
        if leadership is None:
            return
        before = self._decided_end
        while (flight := leadership.in_flight.get(self._decided_end)) is not None and flight.chosen:
            if not self._learner.decide_chosen(flight.value, ballot=leadership.ballot):
                break
        if self._decided_end > before:
            self._announce_at = min(self._announce_at, self._now + self._config.announce_delay_s)

    def _on_slot_decided(self, slot: Slot, value: Value) -> None:
        if self._leadership is not None and self._leadership.is_contradicted(slot, value):
            self._resign()
        if self._leadership is not None:
            self._leadership.decided(slot, value, now=self._now)
        if isinstance(value, Configuration):
            self._lease_known = self._gate.horizon
            if self._role is not Role.FOLLOWER:
                self._prepare_resend_at = self._now

    def _on_catch_up(self, sender: NodeId, message: CatchUp) -> None:
        answer = self._learner.answer(sender, message)
        if isinstance(answer, LogRead):
            self._log_reads.append(answer)
        else:
            self._outbox.send(sender, answer)

    def _on_decided(self, sender: NodeId, message: Decided) -> None:
        self._catch_up.hear(sender, message.decided_end)
        useful = self._learner.learn(message.entries)
        self._catch_up.answered(useful=useful, others=self._sources)

    # Small questions

    @property
    def _decided_end(self) -> Slot:
        return self._learner.decided_end

    @property
    def _configurations(self) -> Configurations:
        return self._learner.configurations

    @property
    def _role(self) -> Role:
        if self._leadership is not None:
            return Role.LEADER
        return Role.CANDIDATE if self._candidacy is not None else Role.FOLLOWER

    @property
    def _ballot(self) -> Ballot:
        if self._leadership is not None:
            return self._leadership.ballot
        return self._candidacy.ballot if self._candidacy is not None else self._leader_ballot

    @property
    def _is_voter(self) -> bool:
        return self._me in self._configurations.voters(self._decided_end)

    @property
    def _others(self) -> tuple[NodeId, ...]:
        return tuple(m for m in self._configurations.members(self._decided_end) if m != self._me)

    @property
    def _sources(self) -> tuple[NodeId, ...]:
        """Whom to ask for decided slots: also a leader from a configuration that this node has yet to learn."""
        others = self._others
        if self._leader is None or self._leader == self._me or self._leader in others:
            return others
        return (self._leader, *others)

    def _leadership_change(self) -> LeadershipChanged | None:
        current = (self._leader, self._role, self._ballot)
        if current == self._leadership_reported:
            return None
        self._leadership_reported = current
        return LeadershipChanged(self._leader, self._ballot, self._role)
