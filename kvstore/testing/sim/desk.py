"""Where a node's clients are served: their calls, the replica's tickets for them, and who still waits.

It does what the API's handlers and the node loop's futures do in the server: serializable reads are answered at once,
linearizable ones when the replica allows it, writes when they were applied here.
"""

from typing import assert_never

from kvproto.command_pb2 import Entry
from kvproto.etcd.rpc_pb2 import RangeRequest

from kvstore.mvcc.errors import Refused
from kvstore.mvcc.results import SessionOpened
from kvstore.mvcc.store import Store
from kvstore.paxos.types import NodeId
from kvstore.replica.replica import Replica
from kvstore.replica.steps import (
    Answer,
    Answered,
    ReadAllowed,
    SessionAnswers,
    SessionOpenedHere,
    Undone,
    WriteFailed,
)
from kvstore.replica.writes import Overloaded
from kvstore.testing.checking.history import Failed, Unknown
from kvstore.testing.sim.calls import Call, Reply
from kvstore.testing.sim.state_judge import StateJudge

__all__ = ["Desk"]


class Desk:
    """Lives as long as its process."""

    def __init__(self, node_id: NodeId, replica: Replica, store: Store, judge: StateJudge) -> None:
        self._node_id = node_id
        self._replica = replica
        self._store = store
        self._judge = judge
        self._waiting: dict[Call, int | None] = {}
        """Who waits for an answer, with the ticket of a write."""
        self._writes: dict[int, Call] = {}
        self._in_session: dict[tuple[int, int], list[Call]] = {}
        self._openings: dict[int, Call] = {}
        self._reads: dict[int, Call] = {}

    def arrives(self, call: Call) -> None:
        """A request has reached the process; a turn will take it."""
        self._waiting[call] = None

    def take(self, call: Call) -> None:
        try:
            if isinstance(call.request, Entry) and call.request.session:
                self._submit(call, call.request)
            elif isinstance(call.request, Entry) and call.request.HasField("open_session"):
                self._openings[self._replica.open_session()] = call
            elif isinstance(call.request, Entry):
                ticket = self._replica.write(call.request)
                self._waiting[call] = ticket
                self._writes[ticket] = call
            elif call.request.serializable:
                self._answer_range(call, call.request)
            else:
                ticket = self._replica.read()
                self._judge.read_arrives(self._node_id, ticket)
                self._reads[ticket] = call
        except Overloaded:
            self._answer(call, Failed("overloaded"))

    def give_up(self, call: Call) -> None:
        """The client no longer waits, and said so after its request."""
        if call not in self._waiting:
            return
        ticket = self._waiting[call]
        if ticket is not None and self._replica.forget_write(ticket):
            assert isinstance(call.request, Entry), "only writes have tickets of this kind"
            self._judge.gives_up(self._node_id, call.request)
            self._answer(call, Failed(Undone.NOT_PROPOSED.value))
        else:
            self._answer(call, Unknown("given up"))

    def perform(self, answer: Answer) -> None:
        match answer:
            case Answered(ticket, result):
                self._answer_write(ticket, result)
            case WriteFailed(ticket, why):
                if why is Undone.UNKNOWN and ticket in self._writes:
                    entry = self._writes[ticket].request
                    assert isinstance(entry, Entry), "only writes have tickets of this kind"
                    self._judge.leaves_in_doubt(self._node_id, entry)
                self._answer_write(ticket, Unknown(why.value) if why is Undone.UNKNOWN else Failed(why.value))
            case SessionAnswers(session, answers):
                for sequence, result in answers:
                    for call in self._in_session.pop((session, sequence), []):
                        if call in self._waiting:
                            self._answer(call, result)
            case SessionOpenedHere(number, session):
                self._judge.opens_for_client(session)
                call = self._openings.pop(number)
                if call in self._waiting:
                    self._answer(call, SessionOpened(session))
            case ReadAllowed(ticket):
                self._judge.read_is_allowed(self._node_id, ticket, applied_end=self._store.applied_end)
                call = self._reads.pop(ticket)
                if call in self._waiting:
                    assert isinstance(call.request, RangeRequest), "only reads are allowed"
                    self._answer_range(call, call.request)
            case _:
                assert_never(answer)

    @property
    def owed(self) -> int:
        """How many requests the replica took and has not settled. Clients that gave up leave some of them behind."""
        return len(self._writes) + len(self._in_session) + len(self._openings) + len(self._reads)

    def process_ended(self) -> None:
        """Whoever waits is told that the connection broke."""
        for call in list(self._waiting):
            self._answer(call, Unknown("the node's process ended"))

    def _submit(self, call: Call, entry: Entry) -> None:
        self._replica.attach(entry.session)
        self._replica.submit(entry.session, [entry])
        self._in_session.setdefault((entry.session, entry.sequence), []).append(call)

    def _answer_write(self, ticket: int, reply: Reply) -> None:
        call = self._writes.get(ticket)
        if call is not None:
            self._answer(call, reply)

    def _answer_range(self, call: Call, request: RangeRequest) -> None:
        try:
            self._answer(call, self._store.range(request))
        except Refused as refused:
            self._answer(call, Failed(refused.text))

    def _answer(self, call: Call, reply: Reply) -> None:
        ticket = self._waiting.pop(call)
        if ticket is not None:
            del self._writes[ticket]
        call.answer(reply)
