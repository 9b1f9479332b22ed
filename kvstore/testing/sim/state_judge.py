"""The judge of the state machine: order, one transaction, equal states, reads and sessions (L6 to L9, L12, L13).

It hears of every slot that a replica applies, of every commit of a state and of what a process finds when it starts;
from the decided values it knows what must have been applied.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kvproto.command_pb2 import CommandBatch, Entry

from kvstore.mvcc.answers import encode_answer
from kvstore.mvcc.limits import Limits
from kvstore.mvcc.results import Refusal, Result, SessionOpened
from kvstore.paxos.types import Application, NodeId, ReadId, Slot, Value
from kvstore.testing.sim.consensus_judge import ConsensusJudge
from kvstore.testing.sim.laws import Ledger
from kvstore.testing.sim.session_books import SessionBooks

__all__ = ["StateJudge"]

EncodedAnswer = tuple[str, int, bytes]


@dataclass(slots=True)
class _Node:
    applied_end: int = 0
    committed: dict[int, bytes] = field(default_factory=dict)
    """Every state that was ever committed here: the hash by ``applied_end``."""
    committed_end: int = 0
    reads: dict[int, tuple[Slot, int]] = field(default_factory=dict)
    """Reads without an answer: what they must see at least, and how many confirmations had begun when they came."""
    confirming: dict[ReadId, int] = field(default_factory=dict)
    """Confirmations without an answer, numbered in the order in which they began anywhere."""


class StateJudge:
    def __init__(
        self,
        ledger: Ledger,
        nodes: Iterable[NodeId],
        consensus: ConsensusJudge,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self._ledger = ledger
        self._checked = ledger.checked
        self._consensus = consensus
        self._nodes = {node_id: _Node() for node_id in nodes}
        self._hashes: dict[int, tuple[bytes, NodeId]] = {}
        self._answers: dict[tuple[int, int], tuple[Slot, EncodedAnswer]] = {}
        self._given_up: dict[tuple[int, int], NodeId] = {}
        """Requests of which a replica said that they are not and will not be proposed."""
        self._books = SessionBooks(limits)
        self._confirmations = 0
        self._confirmed = 0
        """The newest confirmation of anybody's leadership that was answered."""
        self._internal: dict[int, None] = {}
        self._of_clients: dict[int, None] = {}
        self._first: dict[tuple[int, int], tuple[Slot, int]] = {}
        self.results: dict[Slot, list[Result]] = {}
        """What applying each slot yielded, as the first replica that applied it says."""
        self._encoded: dict[Slot, list[EncodedAnswer]] = {}

    # The life of a process

    def process_started(
        self,
        node_id: NodeId,
        *,
        applied_end: int,
        state_hash: bytes,
        power_lost: bool,
        beyond: list[str],
        too_many: Sequence[str] = (),
    ) -> None:
        """A process found this state on its disk; ``beyond`` lists rows that its progress does not know of,
        ``too_many`` what it keeps more of than it may."""
        node = self._nodes[node_id]
        self._checked["L9"] += 1
        if applied_end != 0 and applied_end not in node.committed:
            self._ledger.broken("L9", f"node {node_id} found a state at {applied_end} that it never committed")
        if applied_end in node.committed and node.committed[applied_end] != state_hash:
            self._ledger.broken("L9", f"node {node_id} found another state at {applied_end} than it committed")
        if not power_lost and applied_end != node.committed_end:
            self._ledger.broken(
                "L9", f"node {node_id} committed its state at {node.committed_end} and found it at {applied_end}"
            )
        if beyond:
            self._ledger.broken("L9", f"node {node_id} found a state at {applied_end} with rows beyond: {beyond}")
        self._checked["L13"] += 1
        if too_many:
            self._ledger.broken("L13", f"node {node_id} found a state at {applied_end} with too many {too_many}")
        node.applied_end = node.committed_end = applied_end
        node.reads.clear()
        node.confirming.clear()

    # Applying

    def applies(self, node_id: NodeId, slot: Slot, batch: CommandBatch | None, results: list[Result]) -> None:
        node = self._nodes[node_id]
        self._checked["L6"] += 1
        if slot != node.applied_end:
            self._ledger.broken("L6", f"node {node_id} applies slot {slot} instead of {node.applied_end}")
        node.applied_end = slot + 1
        decided = self._consensus.logs[node_id].get(slot)
        if not _is_same(decided, batch):
            self._ledger.broken("L6", f"node {node_id} applies in slot {slot} what it did not decide there: {batch}")
        if batch is not None:
            self._judge_answers(node_id, slot, batch, results)

    def _judge_answers(self, node_id: NodeId, slot: Slot, batch: CommandBatch, results: list[Result]) -> None:
        encoded = [encode_answer(result) for result in results]
        known = self._encoded.get(slot)
        self._checked["L8"] += 1
        if known is not None:
            if known != encoded:
                self._ledger.broken("L8", f"node {node_id} answers slot {slot} with {encoded}, others with {known}")
            return
        self._encoded[slot] = encoded
        self.results[slot] = results
        for index, (entry, result, answer) in enumerate(zip(batch.entries, results, encoded, strict=True)):
            if isinstance(result, SessionOpened) and entry.open_session.node_id:
                self._internal[result.session] = None
            wrong = self._books.enter(slot, entry, result)
            if wrong is not None:
                self._ledger.broken("L12", f"slot {slot}: {wrong}; node {node_id} says {answer}")
            if not entry.session:
                continue
            identity = (entry.session, entry.sequence)
            self._first.setdefault(identity, (slot, index))
            if identity in self._given_up:
                self._ledger.broken(
                    "L12", f"node {self._given_up[identity]} said that {identity} was never proposed: slot {slot}"
                )
            self._judge_session(slot, entry, result, answer)

    def is_internal(self, session: int) -> bool:
        """Whether a node opened this session for the writes of clients that have none."""
        return session in self._internal and session not in self._of_clients

    def opens_for_client(self, session: int) -> None:
        """A node opened this session because a client had asked it to."""
        self._of_clients[session] = None

    def is_repeated(self, slot: Slot, index: int, entry: Entry) -> bool:
        """Whether an earlier slot, or an earlier entry of this one, has the same request."""
        return self._first.get((entry.session, entry.sequence)) != (slot, index)

    def _judge_session(self, slot: Slot, entry: Entry, result: Result, answer: EncodedAnswer) -> None:
        """The first answer, or none at all where the books allow that."""
        self._checked["L12"] += 1
        if isinstance(result, Refusal) and (result.session_expired or result.fate_unknown):
            return
        identity = (entry.session, entry.sequence)
        first_slot, first = self._answers.setdefault(identity, (slot, answer))
        if first != answer:
            self._ledger.broken(
                "L12", f"request {identity} was answered {first} in slot {first_slot} and {answer} in slot {slot}"
            )

    def commits(self, node_id: NodeId, *, applied_end: int, state_hash: bytes) -> None:
        """The turn's transaction was committed."""
        node = self._nodes[node_id]
        self._checked["L8"] += 1
        self._checked["L9"] += 1
        if applied_end != node.applied_end:
            self._ledger.broken("L9", f"node {node_id} applied up to {node.applied_end}, committed {applied_end}")
        known, other = self._hashes.setdefault(applied_end, (state_hash, node_id))
        if known != state_hash:
            self._ledger.broken(
                "L8",
                f"the states of nodes {other} and {node_id} differ at {applied_end}: {known.hex()}, {state_hash.hex()}",
            )
        node.committed[applied_end] = state_hash
        node.committed_end = applied_end

    def applied_end(self, node_id: NodeId) -> int:
        return self._nodes[node_id].applied_end

    # Clients

    def read_arrives(self, node_id: NodeId, ticket: int) -> None:
        """A linearizable read reached the node: it must see all that anyone has decided by now (L7)."""
        self._nodes[node_id].reads[ticket] = (self._consensus.decided_end, self._confirmations)

    def asks_to_confirm(self, node_id: NodeId, read_id: ReadId) -> None:
        """A replica asks whether it still leads."""
        self._confirmations += 1
        self._nodes[node_id].confirming[read_id] = self._confirmations

    def is_confirmed(self, node_id: NodeId, read_id: ReadId) -> None:
        """It did lead after it had asked; whether that is so is for the judge of consensus to say."""
        self._confirmed = max(self._confirmed, self._nodes[node_id].confirming.pop(read_id))

    def read_is_allowed(self, node_id: NodeId, ticket: int, *, applied_end: int) -> None:
        demanded = self._nodes[node_id].reads.pop(ticket, None)
        self._checked["L7"] += 1
        if demanded is None:
            self._ledger.broken("L7", f"node {node_id} allows the read {ticket}, which nobody asked for")
        decided_end, confirmations = demanded
        if applied_end < decided_end:
            self._ledger.broken(
                "L7", f"node {node_id} allows a read at {applied_end}; {decided_end} was decided when it came"
            )
        if self._confirmed <= confirmations:
            self._ledger.broken("L7", f"node {node_id} allows a read; nobody asked who leads after it came")

    def leaves_in_doubt(self, node_id: NodeId, entry: Entry) -> None:
        """The replica told a client who waits for this write that nobody knows what came of it."""
        self._checked["L12"] += 1
        if self._books.owes(entry.session, entry.sequence):
            self._ledger.broken(
                "L12", f"node {node_id} does not know what came of {(entry.session, entry.sequence)}; the session does"
            )

    def gives_up(self, node_id: NodeId, entry: Entry) -> None:
        """The replica said that this write was certainly not proposed and never will be."""
        if entry.session:
            self._given_up[entry.session, entry.sequence] = node_id


def _is_same(decided: Value | None, batch: CommandBatch | None) -> bool:
    if isinstance(decided, Application):
        return batch is not None and batch.SerializeToString() == decided.data
    return decided is not None and batch is None
