"""One replica: consensus, the state machine, and the order of a turn.

A turn is: propose what waits, drain the core, send, commit, apply, answer. It yields steps and the shell performs them
in that order; nothing here waits, so what can overlap does. Sending comes before the commit because everything that the
core lets out is safe to send already (L2), and the followers' disks then work while ours does. The simulator and the
server drive this same class.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from kvproto.command_pb2 import CommandBatch, Entry, ExpireSessions

from kvstore.mvcc.store import Store
from kvstore.paxos.core import Paxos
from kvstore.paxos.durable import GoverningConfiguration
from kvstore.paxos.effects import DecidedValue, Effects, LeadershipChanged, LogRead, Role, Status
from kvstore.paxos.messages import AcceptedEntry, Decided, Message
from kvstore.paxos.types import ZERO_BALLOT, Application, Configuration, NodeId, Noop, ProposalId, Slot, WriteId
from kvstore.replica.expiry import SessionExpiry
from kvstore.replica.messages import Forward, ForwardReply, ReadIndex, ReadIndexReply, ReplicaMessage
from kvstore.replica.reads import Reads, RemoteReader
from kvstore.replica.steps import (
    Answer,
    AnswerAll,
    Commit,
    LeadershipStep,
    Outgoing,
    ReadAllowed,
    ReadLog,
    Send,
    SessionAnswers,
    SessionOpenedHere,
    Step,
)
from kvstore.replica.unary import UnarySession
from kvstore.replica.writes import Forwarded, Proposal, Writes

__all__ = ["Replica", "ReplicaConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaConfig:
    """``retry_s``: how long a question to the leader may stay unanswered, and the pause after a refusal.

    ``resend_s``: how long a forwarded write may. ``session_ttl_s``: how long a session may stay unused, at least.
    ``unary_max``: how many writes of clients without a session may wait. ``pending_max`` bounds the writes that wait
    here, the entries that others forwarded, and the reads, each by itself.
    """

    node_id: NodeId
    incarnation: int
    retry_s: float = 0.3
    resend_s: float = 1.0
    session_ttl_s: float = 600.0
    unary_max: int = 4096
    pending_max: int = 65536
    batch_entries_max: int = 512
    batch_bytes_max: int = 1 << 20


@dataclass(slots=True)
class _Turn:
    """What one turn gathers before it is handed out."""

    messages: list[Outgoing] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)


class Replica:
    """``encode_configurations`` turns what the log decided about membership into the bytes that the state keeps."""

    def __init__(
        self,
        config: ReplicaConfig,
        paxos: Paxos,
        store: Store,
        *,
        encode_configurations: Callable[[Sequence[GoverningConfiguration]], Sequence[tuple[int, bytes]]],
    ) -> None:
        self._config = config
        self._me = config.node_id
        self._paxos = paxos
        self.store = store
        self._encode_configurations = encode_configurations
        self._writes = Writes(
            config.node_id,
            config.incarnation,
            pending_max=config.pending_max,
            entries_max=config.batch_entries_max,
            bytes_max=config.batch_bytes_max,
            resend_s=config.resend_s,
        )
        self._unary = UnarySession(
            self._writes, window=store.limits.answers_per_session_max, waiting_max=config.unary_max
        )
        self._expiry = SessionExpiry(ttl_s=config.session_ttl_s)
        self._reads = Reads(config.incarnation, retry_s=config.retry_s, pending_max=config.pending_max)
        self._proposed: dict[ProposalId, Proposal] = {}
        self._reachable: dict[NodeId, None] = {}
        self._leadership = LeadershipChanged(None, ZERO_BALLOT, Role.FOLLOWER)
        self._refused_until = float("-inf")
        self._turn = _Turn()

    # Inputs

    def receive(self, sender: NodeId, message: Message | ReplicaMessage, now: float) -> None:
        match message:
            case Forward():
                self._on_forward(sender, message)
            case ForwardReply():
                self._writes.refused(message.number)
                self._refused_until = now + self._config.retry_s
            case ReadIndex():
                self._reads.add_remote(RemoteReader(sender, message.request))
            case ReadIndexReply():
                self._reads.answered(message.request, confirmed=message.confirmed, index=message.index)
                if not message.confirmed:
                    self._refused_until = now + self._config.retry_s
            case _:
                self._paxos.receive(sender, message, now)

    def write(self, entry: Entry) -> int:
        """A write of a client without a session: an answer will name the ticket. Raises Overloaded."""
        return self._unary.add(entry)

    def open_session(self) -> int:
        """SessionOpenedHere will name the number that this returns."""
        return self._writes.open_session()

    def attach(self, session: int) -> None:
        """From now on SessionAnswers come for requests of this session that are submitted here."""
        self._writes.attach(session)

    def detach(self, session: int) -> None:
        """None come any more. What was sent may be applied all the same."""
        self._writes.detach(session)

    def submit(self, session: int, entries: Sequence[Entry]) -> None:
        """Requests of an attached session: puts, deletes and transactions with its id and a sequence each.

        Raises Overloaded; then none of them was taken.
        """
        self._writes.submit(session, entries)

    def read(self) -> int:
        """A client's linearizable read: ReadAllowed will name the ticket once the local state may serve it (L7).

        Raises Overloaded.
        """
        return self._reads.add()

    def forget_read(self, ticket: int) -> None:
        """The client gave up."""
        self._reads.forget(ticket)

    def forget_request(self, session: int, sequence: int) -> bool:
        """The client gave a submitted request up. True where it certainly was not proposed here and never will be."""
        return self._writes.forget(session, sequence)

    def forget_write(self, ticket: int) -> bool:
        """The client gave up. True where the write was certainly not proposed and never will be."""
        return self._unary.forget(ticket)

    def persisted(self, write_id: WriteId, now: float) -> None:
        self._paxos.persisted(write_id, now)

    def tick(self, now: float) -> None:
        self._reads.expire(now)
        self._writes.resend_overdue(now)
        self._paxos.tick(now)

    def link_up(self, node_id: NodeId) -> None:
        self._reachable[node_id] = None
        if node_id == self._paxos.status().leader:
            self._writes.resend(())  # what was on its way when the link broke may be lost

    def link_lost(self, node_id: NodeId, now: float) -> None:
        self._reachable.pop(node_id, None)
        self._paxos.link_lost(node_id, now)

    def hand_over(self, now: float) -> NodeId | None:
        """Asks the likeliest successor to lead; None where this node does not lead or nobody could."""
        successor = self._paxos.successor()
        if successor is not None:
            self._paxos.transfer(successor, now)
        return successor

    # The turn

    def turn(self, now: float) -> Iterator[Step]:
        """One turn. The steps must be performed in their order; inputs wait until the turn has ended."""
        if now >= self._refused_until:
            self._refused_until = float("-inf")
        self._start_reads(now)
        self._unary.submit()
        self._start_writes(now)
        effects = self._paxos.take_effects()
        self._turn.messages += [Outgoing(e.to, e.message) for e in effects.messages]
        self._settle_reads(effects)
        if self._turn.messages:
            messages, self._turn.messages = self._turn.messages, []
            yield Send(messages)
        if effects.write is not None:
            yield Commit(effects.write)
        for log_read in effects.log_reads:
            yield ReadLog(log_read)
        if effects.decided:
            self._apply(effects.decided, now)
        if effects.leadership is not None:
            self._leadership = effects.leadership
            self._writes.resend(self._proposed.values())
        for lost in effects.proposals_lost:
            self._proposed.pop(lost.proposal_id)  # waits again already: it is only lost where leadership was
        self._gather_answers()
        if self._turn.answers:
            answers, self._turn.answers = self._turn.answers, []
            yield AnswerAll(answers)
        if effects.leadership is not None:
            self._refused_until = min(self._refused_until, now)  # what waits may go out with the next turn
            self._expiry.lost_leadership()
            yield LeadershipStep(effects.leadership)

    def wants_turn(self, now: float) -> bool:
        """Whether another turn would do something though nothing new has come in."""
        if self._turn.messages or self._unary.is_due or self._batch_is_due():
            return True
        if self._forward_is_due() and self._may_ask(self._paxos.status().leader, now):
            return True
        deadline = self.next_deadline()
        return deadline is not None and deadline <= now

    def next_deadline(self) -> float | None:
        """When ``tick`` and a turn have something to do; None: never, unless an input comes."""
        possible = [self._paxos.next_deadline(), self._reads.next_retry(), self._writes.next_resend()]
        deadlines = [d for d in (*possible, self._expiry.next_deadline()) if d is not None]
        if self._refused_until > float("-inf") and (self._writes.waiting_count or self._reads.any_waiting):
            deadlines.append(self._refused_until)
        return min(deadlines, default=None)

    def status(self) -> Status:
        return self._paxos.status()

    def configurations(self) -> tuple[GoverningConfiguration, ...]:
        """Those that govern an undecided slot, in slot order."""
        return self._paxos.configurations()

    @property
    def pending_writes(self) -> int:
        return self._writes.pending_count

    def log_page(self, read: LogRead, entries: tuple[AcceptedEntry, ...]) -> Outgoing:
        """The answer to a ReadLog step: what the log had of the slots that were asked for."""
        return Outgoing(read.requester, Decided(entries, self._paxos.status().decided_end))

    # Reads

    def _start_reads(self, now: float) -> None:
        if not self._reads.any_waiting:
            return
        status = self._paxos.status()
        if status.role is Role.LEADER:
            self._reads.confirming(self._paxos.confirm_leadership(now), self._reads.take_group())
            return
        for reader in self._reads.take_remote():
            self._send(reader.node_id, ReadIndexReply(reader.request, confirmed=False, index=Slot(0)))
        if self._reads.any_local_waiting and self._may_ask(status.leader, now):
            assert status.leader is not None
            self._send(status.leader, ReadIndex(self._reads.ask(now)))

    def _settle_reads(self, effects: Effects) -> None:
        for ready in effects.reads_ready:
            for reader in self._reads.confirmed(ready.read_id, ready.index):
                self._send(reader.node_id, ReadIndexReply(reader.request, confirmed=True, index=ready.index))
        for failed in effects.reads_failed:
            for reader in self._reads.failed(failed.read_id):
                self._send(reader.node_id, ReadIndexReply(reader.request, confirmed=False, index=Slot(0)))

    def _may_ask(self, leader: NodeId | None, now: float) -> bool:
        return leader is not None and leader != self._me and leader in self._reachable and now >= self._refused_until

    # Writes

    def _start_writes(self, now: float) -> None:
        """Where the leader has changed, the next turn does: in this one, what is decided already gets its answers."""
        status = self._paxos.status()
        is_new = self._leadership != LeadershipChanged(status.leader, status.ballot, status.role)
        if status.role is Role.LEADER:
            if is_new:
                return
            self._expire_sessions(now)
            while self._batch_is_due() and (proposal := self._writes.take_batch()) is not None:
                self._proposed[self._paxos.propose(proposal.batch.SerializeToString(), now)] = proposal
            return
        for forwarded in self._writes.take_received():
            self._send(forwarded.sender, ForwardReply(forwarded.number))
        if not is_new and self._forward_is_due() and self._may_ask(status.leader, now):
            assert status.leader is not None
            for number, batch in self._writes.take_forwards(now):
                self._send(status.leader, Forward(number, batch))

    def _batch_is_due(self) -> bool:
        """Whether to propose now what waits, or to let it grow while what is in flight is on its way.

        An idle leader proposes at once. A busy one waits until as much has gathered as it has in flight, so that the
        batches of a constant load come to share it evenly between few slots, without a timer and at any round trip.
        """
        if not self._writes.waiting_count or not self._paxos.window_free:
            return False
        in_flight = sum(len(proposal.batch.entries) for proposal in self._proposed.values())
        return self._writes.waiting_count >= min(in_flight, self._config.batch_entries_max)

    def _forward_is_due(self) -> bool:
        """The same for a follower and what it has forwarded."""
        waiting = self._writes.waiting_count
        return waiting > 0 and waiting >= min(self._writes.sent_count, self._config.batch_entries_max)

    def _expire_sessions(self, now: float) -> None:
        slot = self._expiry.due(now, applied_end=self.store.applied_end)
        if slot is not None and self.store.has_session_unused_since(slot):
            self._writes.propose(Entry(expire_sessions=ExpireSessions(unused_since_slot=slot)))

    def _on_forward(self, sender: NodeId, message: Forward) -> None:
        forwarded = Forwarded(sender, message.number, message.batch)
        if not self._writes.receive(forwarded):
            self._send(sender, ForwardReply(message.number))

    def _gather_answers(self) -> None:
        answers = self._turn.answers
        answers += [ReadAllowed(t) for t in self._reads.take_allowed(Slot(self.store.applied_end))]
        for number, session in self._writes.take_opened():
            if not self._unary.opened(number, session):
                answers.append(SessionOpenedHere(number, session))
        for session, answered in self._writes.take_answers():
            if self._unary.is_own(session):
                answers += self._unary.answered(session, answered)
            else:
                answers.append(SessionAnswers(session, answered))

    # Applying

    def _apply(self, decided: Sequence[DecidedValue], now: float) -> None:
        """Applies in slot order (L6), all of it in one transaction (L9)."""
        anyone_else_waits = False
        self.store.begin()
        for slot_value in decided:
            match slot_value.value:
                case Application(data):
                    proposal = None
                    if slot_value.proposal_id is not None:
                        proposal = self._proposed.pop(slot_value.proposal_id)
                    batch = proposal.batch if proposal is not None else CommandBatch.FromString(data)
                    anyone_else_waits |= proposal is None or proposal.foreign
                    self._writes.settle(batch, self.store.apply(slot_value.slot, batch))
                case Configuration() as configuration:
                    ((_, encoded),) = self._encode_configurations([GoverningConfiguration(Slot(0), configuration)])
                    self.store.apply(slot_value.slot, None, configuration=encoded)
                case Noop():
                    self.store.apply(slot_value.slot, None)
        if any(isinstance(d.value, Configuration) for d in decided):
            self.store.set_configurations(self._encode_configurations(self._paxos.configurations()))
        self.store.commit()
        if anyone_else_waits:
            self._paxos.announce_decided(now)

    def _send(self, to: NodeId, message: Message | ReplicaMessage) -> None:
        self._turn.messages.append(Outgoing(to, message))
