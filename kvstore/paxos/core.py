"""Multi-Paxos as one passive object: inputs change it, one call drains it.

Time is an argument, chance is an injected ``Random``; it does no I/O and starts nothing. Bytes are proposed, bytes are
decided: it knows nothing of keys. The roles of "Paxos Made Simple" live in rooms of their own, and this module is what
connects them:

- ``proposer`` stands and leads; ``phase_one`` and ``leadership`` are what it knows in either phase of its ballot.
- ``acceptor`` promises and accepts; ``follower`` answers for it, follows whoever leads, and doubts whoever is silent.
- ``learner`` decides, in slot order and without gaps (L6); ``catch_up`` asks others for what is lacking.

A message to oneself takes the same way as any other, through the same ``gate``, so that a leader's own acceptance
counts only once it is durable (L2).
"""

from random import Random
from typing import assert_never

from kvstore.paxos.acceptor import Acceptor
from kvstore.paxos.catch_up import CatchUpState
from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.durable import DurableState, GoverningConfiguration
from kvstore.paxos.effects import Effects, LeadershipChanged, LogRead, Role, Status
from kvstore.paxos.election import Election
from kvstore.paxos.follower import Follower
from kvstore.paxos.gate import Gate
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
from kvstore.paxos.proposer import Proposer
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
        self._outbox = Outbox(self._me, self._gate)
        self._acceptor = Acceptor(
            self._gate,
            promised=recovered.promised,
            accepted={slot: known for slot, known in recovered.accepted.items() if slot >= recovered.decided_end},
            first_slot=recovered.first_slot,
        )
        self._lease_grants = LeaseGrants(self._gate, restarted_until=now + recovered.lease_s)
        self._learner = Learner(config, recovered, self._acceptor, self._on_slot_decided)
        self._catch_up = CatchUpState(retry_s=config.election_timeout_s / 2)
        self._election = Election(config, rng, highest_seen=recovered.promised, now=now)
        self._election.wait_at_start(now)
        self._proposer = Proposer(config, self._gate, self._outbox, self._learner, self._election)
        self._follower = Follower(
            config,
            outbox=self._outbox,
            acceptor=self._acceptor,
            lease_grants=self._lease_grants,
            learner=self._learner,
            catch_up=self._catch_up,
            election=self._election,
            proposer=self._proposer,
        )
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
        return self._proposer.confirm_leadership()

    def announce_decided(self, now: float) -> None:
        """Somebody waits for followers to learn what is decided: tell them with this drain."""
        self._advance(now)
        self._proposer.announce_decided(self._now)

    def transfer(self, target: NodeId, now: float) -> None:
        """Hands over to ``target``: nothing new is proposed, and once nothing is in flight it is asked to lead."""
        self._advance(now)
        self._proposer.transfer(target, self._now)
        self._settle()

    def link_lost(self, node_id: NodeId, now: float) -> None:
        """A hint, not a fact: the connection to ``node_id`` broke. If it led, doubt it at once."""
        self._advance(now)
        if self._proposer.role is Role.FOLLOWER and self._election.leader == node_id:
            self._election.lost_leader(self._now)

    def tick(self, now: float) -> None:
        """Time has passed. To be called at ``next_deadline`` at the latest."""
        self._advance(now)
        if self._proposer.role is not Role.LEADER and self._now >= self._election.deadline:
            self._hear_nobody()
        else:
            self._proposer.tick(self._now)
        self._settle()

    def persisted(self, write_id: WriteId, now: float) -> None:
        """Every write up to ``write_id`` is on the disk."""
        self._advance(now)
        self._outbox.persisted(write_id)
        self._settle()

    def installed(self, *, decided_end: Slot, configurations: tuple[GoverningConfiguration, ...], now: float) -> None:
        """A snapshot took effect: the state contains every slot below ``decided_end``."""
        self._advance(now)
        if decided_end <= self._learner.decided_end:
            return
        self._proposer.resign(self._now)
        self._learner.installed(decided_end, configurations)
        self._settle()

    def compacted(self, *, first_slot: Slot) -> None:
        """The log was cut: slots below ``first_slot`` exist only in the state (L10)."""
        assert self._acceptor.first_slot <= first_slot <= self._learner.decided_end
        self._acceptor.first_slot = first_slot
        self._learner.compacted(first_slot)

    # Outputs

    def take_effects(self) -> Effects:
        """Drains: everything that is to be done since the last call, exactly once."""
        self._proposer.beat(self._now)
        effects = Effects(
            write=self._gate.take_write(),
            messages=self._outbox.take(),
            decided=self._learner.take_decided(),
            proposals_lost=self._learner.take_lost(),
            reads_ready=self._proposer.take_reads_ready(),
            reads_failed=self._proposer.take_reads_failed(),
            log_reads=tuple(self._log_reads),
            leadership=self._leadership_change(),
        )
        self._log_reads.clear()
        return effects

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do; None: never, unless an input comes."""
        soonest = self._proposer.next_deadline
        if self._proposer.role is not Role.LEADER:
            soonest = min(soonest, self._election.deadline)
        if self._catch_up.retry_at is not None:
            soonest = min(soonest, self._catch_up.retry_at)
        return None if soonest == float("inf") else soonest

    @property
    def window_free(self) -> int:
        """How many slots may be proposed now; 0 on a node that does not lead."""
        return self._proposer.window_free

    def status(self) -> Status:
        decided_end = self._learner.decided_end
        return Status(
            node_id=self._me,
            role=self._proposer.role,
            leader=self._election.leader,
            ballot=self._election.ballot,
            promised=self._gate.durable_promise,
            decided_end=decided_end,
            first_slot=self._acceptor.first_slot,
            configuration_epoch=self._learner.configurations.at(decided_end).epoch,
            window_free=self._proposer.window_free,
        )

    def configurations(self) -> tuple[GoverningConfiguration, ...]:
        """Those that govern an undecided slot, as snapshots and ``DurableState`` carry them."""
        return self._learner.configurations.snapshot()

    def successor(self) -> NodeId | None:
        """Who could take over soonest, if this node leads and anyone could."""
        return self._proposer.successor(self._now)

    def check_invariants(self) -> None:
        """Asserts what must hold between any two inputs; the simulator calls it after each."""
        acceptor = self._acceptor
        for slot, known in acceptor.accepted.items():
            assert known.learned or known.ballot <= acceptor.promised, f"slot {slot} accepted above the promise (L1)"
        assert self._gate.durable_promise <= acceptor.promised
        assert acceptor.first_slot <= self._learner.cache_start <= self._learner.decided_end
        self._proposer.check_invariants(promised=acceptor.promised)
        assert not self._outbox.to_self

    # Between input and output

    def _advance(self, now: float) -> None:
        self._now = max(self._now, now)

    def _propose(self, value: Value, now: float) -> ProposalId:
        self._advance(now)
        proposal_id = self._proposer.propose(value, self._now)
        self._settle()
        return proposal_id

    def _dispatch(self, sender: NodeId, message: Message) -> None:
        match message:
            case Accept():
                self._follower.on_accept(sender, message, self._now)
            case Accepted():
                self._proposer.on_accepted(sender, message)
            case Heartbeat():
                self._follower.on_heartbeat(sender, message, self._now)
            case HeartbeatReply():
                self._catch_up.hear(sender, message.decided_end)
                self._proposer.on_heartbeat_reply(sender, message)
            case Prepare():
                self._follower.on_prepare(sender, message, self._now)
            case Promise():
                self._catch_up.hear(sender, message.decided_end)
                self._proposer.on_promise(sender, message, self._now)
            case Nack():
                self._proposer.on_nack(message, self._now)
            case Suspect():
                self._follower.on_suspect(sender, message, self._now)
            case SuspectReply():
                self._catch_up.hear(sender, message.decided_end)
                self._follower.on_suspect_reply(sender, message, self._now)
            case CatchUp():
                self._on_catch_up(sender, message)
            case Decided():
                self._on_decided(sender, message)
            case SnapshotOffer():
                self._catch_up.answered(useful=False, others=self._sources)
            case Transfer():
                self._follower.on_transfer(message, self._now)
            case _:
                assert_never(message)

    def _settle(self) -> None:
        """Follows what an input set in motion to its end: own messages, slots chosen, slots free, gaps to ask for."""
        while True:
            while self._outbox.to_self:
                self._dispatch(self._me, self._outbox.to_self.popleft())
            self._proposer.decide_chosen(self._now)
            self._proposer.propose_inherited(self._now)
            if not self._outbox.to_self:
                break
        self._learner.decide_learned()
        self._proposer.answer_reads(self._now)
        self._proposer.hand_over()
        learned_end = self._learner.learned_end
        source = self._catch_up.ask(decided_end=learned_end, others=self._sources, now=self._now)
        if source is not None:
            self._outbox.send(source, CatchUp(learned_end))

    def _hear_nobody(self) -> None:
        """Nobody leads, as far as this node hears: neither another node nor, if it stands, itself."""
        stood = self._proposer.role is Role.CANDIDATE
        if stood:
            self._proposer.resign(self._now)
        if self._follower.doubt(self._now) or stood:
            return
        # It hears no leader and may not stand; it may be a voter without having learned it yet.
        self._election.wait_full(self._now)
        source = self._catch_up.probe(self._sources)
        if source is not None:
            self._outbox.send(source, CatchUp(self._learner.learned_end))

    # Learning

    def _on_slot_decided(self, slot: Slot, value: Value) -> None:
        self._proposer.decided(slot, value, self._now)
        if isinstance(value, Configuration):
            self._lease_grants.length_changed()

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

    @property
    def _sources(self) -> tuple[NodeId, ...]:
        """Whom to ask for decided slots: also a leader from a configuration that this node has yet to learn."""
        members = self._learner.configurations.members(self._learner.decided_end)
        others = tuple(member for member in members if member != self._me)
        leader = self._election.leader
        if leader is None or leader == self._me or leader in others:
            return others
        return (leader, *others)

    def _leadership_change(self) -> LeadershipChanged | None:
        current = (self._election.leader, self._proposer.role, self._election.ballot)
        if current == self._leadership_reported:
            return None
        self._leadership_reported = current
        leader, role, ballot = current
        return LeadershipChanged(leader, ballot, role)
