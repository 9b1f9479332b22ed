"""A run as a story has it: messages on their way, what each caused, and what happened to nodes.

The recorder listens to a run and relates effects to the message that brought them about: a promise to its Prepare, an
acceptance to its Accept, a decision to the Accepted that completed the quorum or to the message that told of it. What
no message brought about stands for itself. Facts about disks are told once they are durable, not before (L2).
"""

import enum
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from kvstore.paxos.configurations import is_quorum
from kvstore.paxos.durable import AcceptRecord, LearnRecord, PromiseRecord, Record
from kvstore.paxos.effects import Role
from kvstore.paxos.messages import (
    Accept,
    Accepted,
    Decided,
    Heartbeat,
    Nack,
    Prepare,
    Promise,
    SuspectReply,
    Transfer,
)
from kvstore.paxos.types import Ballot, Configuration, NodeId, Slot
from kvstore.testing.checking.history import Failed, Unknown
from kvstore.testing.cli.words import (
    Kind,
    action_words,
    kind_of,
    message_words,
    outcome_words,
    slots_words,
    value_words,
)
from kvstore.testing.sim import events
from kvstore.testing.sim.events import AnyMessage, Event
from kvstore.testing.sim.narrate import describe_message

__all__ = ["NEWS_S", "Arrow", "FaultSpan", "Lane", "Mark", "MarkKind", "Recorder"]

NEWS_S: Final = 0.03
"""An effect that comes later than this after a message's arrival is told by itself."""
_RECENT_MAX: Final = 64

Lane = str
"""``1`` is a node, ``alice`` a client."""


class MarkKind(enum.Enum):
    PROMISED = "promised"
    ACCEPTED = "accepted"
    CHOSEN = "accepted, and thereby chosen"
    LEARNED = "learned"
    DECIDED = "decided and applied"
    STANDS = "stands"
    LEADS = "leads"
    FOLLOWS = "follows"
    LEADERLESS = "knows no leader"
    CRASHED = "crashes"
    STARTED = "starts"
    PAUSED = "is paused"
    RESUMED = "goes on"
    WRITE_LOST = "loses a write"
    REFUSED = "refuses"
    NOTE = "note"


@dataclass(slots=True)
class Arrow:
    """``landed_at`` is when it arrived or was lost (``lost`` says why); None while it is on its way."""

    number: int
    sender: Lane
    to: Lane
    kind: Kind
    text: str
    full: str
    sent_at: float
    landed_at: float | None = None
    lost: str = ""
    copy_of: int | None = None
    message: AnyMessage | None = None
    effects: list["Mark"] = field(default_factory=list)

    @property
    def is_idle(self) -> bool:
        """A heartbeat that changed nothing."""
        return self.kind is Kind.HEARTBEAT and not self.effects


@dataclass(slots=True)
class Mark:
    """Something that became a fact at a node. ``arrow`` brought it about, if a message did."""

    at: float
    node: Lane
    kind: MarkKind
    text: str
    slots: tuple[Slot, Slot] | None = None
    ballot: Ballot | None = None
    arrow: Arrow | None = None


@dataclass(slots=True)
class FaultSpan:
    number: int
    kind: str
    text: str
    since: float
    until: float | None = None


class Recorder:
    """``hear`` every event. ``order`` is what there is to tell, in the order of the telling."""

    def __init__(self, nodes: Sequence[NodeId], configuration_at: Callable[[Slot], Configuration]) -> None:
        self.nodes: tuple[Lane, ...] = tuple(map(str, nodes))
        self.clients: list[Lane] = []
        self.arrows: list[Arrow] = []
        self.marks: list[Mark] = []
        self.faults: list[FaultSpan] = []
        self.order: list[Arrow | Mark | FaultSpan] = []
        self.now = 0.0
        self.began_at = 0.0
        """When the story begins, and ``at_first`` what nodes were then that they are not from birth."""
        self.at_first: list[Mark] = []
        self.sent: dict[str, int] = {}
        """Messages by the name of their type."""
        self.lost: dict[str, int] = {}
        """Messages by why they were lost."""
        self.chosen_at: dict[Slot, Ballot] = {}
        """The ballot at which a quorum first had a slot's value."""
        self.led: list[str] = []
        """The ballots that came to lead, in order."""
        self._configuration_at = configuration_at
        self._under_way: dict[int, Arrow] = {}
        self._landed: dict[Lane, deque[Arrow]] = {node: deque(maxlen=_RECENT_MAX) for node in self.nodes}
        self._voters: dict[tuple[Slot, Ballot], dict[NodeId, None]] = {}

    def hear(self, event: Event) -> None:
        self.now = event.at
        match event:
            case events.MessageSent():
                self._sent(event.number, event.sender, event.to, event.message, event.at)
                if isinstance(event.message, Nack):
                    self._refused(event, event.message)
            case events.MessageDuplicated():
                arrow = self._sent(event.copy, event.sender, event.to, event.message, event.at)
                arrow.copy_of = event.number
            case events.MessageDelivered():
                self._land(event.number, event.at, "")
            case events.MessageDropped():
                name = event.cause.value
                self.lost[name] = self.lost.get(name, 0) + 1
                self._land(event.number, event.at, name)
            case events.CommitPersisted():
                for record in event.write.records:
                    self._durable(event.at, event.node, record)
            case events.CommitLost():
                what = ", ".join(map(_record_words, event.write.records))
                self._mark(event.at, event.node, MarkKind.WRITE_LOST, f"loses what was not on disk yet: {what}")
            case events.SlotsApplied():
                self._applied(event.at, event.node, event.start, event.end)
            case events.LeadershipChanged():
                self._leadership(event)
            case events.ProcessStarted():
                if event.incarnation > 1:
                    self._mark(
                        event.at,
                        event.node,
                        MarkKind.STARTED,
                        f"starts again: promised {event.promised}, applied below {event.decided_end}",
                    )
            case events.ProcessCrashed():
                self._landed[str(event.node)].clear()
                why = "" if event.why == "by hand" else f" ({event.why})"
                self._mark(event.at, event.node, MarkKind.CRASHED, f"crashes{why}")
            case events.ProcessPaused():
                self._mark(event.at, event.node, MarkKind.PAUSED, "is paused")
            case events.ProcessResumed():
                self._mark(event.at, event.node, MarkKind.RESUMED, "goes on")
            case events.FaultBegan():
                span = FaultSpan(event.number, event.kind, event.text, event.at)
                self.faults.append(span)
                self.order.append(span)
            case events.FaultEnded():
                for span in self.faults:
                    if span.number == event.number and span.until is None:
                        span.until = event.at
            case events.ClientCalled():
                self._client(event.at, event.client, str(event.node), action_words(event.action), client=event.client)
            case events.ClientReturned():
                refused = isinstance(event.outcome, Failed | Unknown)
                text = outcome_words(event.outcome)
                self._client(
                    event.at, str(event.node), event.client, text, client=event.client, lost=text if refused else ""
                )
            case _:
                pass

    def note(self, text: str) -> None:
        """A sentence of the storyteller's."""
        mark = Mark(self.now, "", MarkKind.NOTE, text)
        self.marks.append(mark)
        self.order.append(mark)

    def forget_the_past(self) -> None:
        """The story begins now: what was told until here is not part of it, what was counted is."""
        newest = {mark.node: mark for mark in self.marks if mark.kind in (MarkKind.LEADS, MarkKind.STANDS)}
        over = {mark.node: mark for mark in self.marks if mark.kind in (MarkKind.FOLLOWS, MarkKind.LEADERLESS)}
        self.at_first = [m for n, m in newest.items() if n not in over or over[n].at < m.at]
        self.began_at = self.now
        self.arrows.clear()
        self.marks.clear()
        self.faults.clear()
        self.order.clear()
        self._under_way.clear()

    # Messages

    def _sent(self, number: int, sender: NodeId, to: NodeId, message: AnyMessage, at: float) -> Arrow:
        name = type(message).__name__
        self.sent[name] = self.sent.get(name, 0) + 1
        arrow = Arrow(
            number,
            str(sender),
            str(to),
            kind_of(message),
            message_words(message),
            describe_message(message),
            at,
            message=message,
        )
        self.arrows.append(arrow)
        self._under_way[number] = arrow
        return arrow

    def _refused(self, event: events.MessageSent, nack: Nack) -> None:
        """Relates a Nack to the oldest message of its turn that it may answer and that has no answer yet."""
        for arrow in self._landed[str(event.sender)]:
            if (
                arrow.number in event.causes
                and arrow.sender == str(event.to)
                and isinstance(arrow.message, Prepare | Accept | Heartbeat)
                and arrow.message.ballot < nack.promised
                and not arrow.effects
            ):
                text = f"refuses: it promised {nack.promised}"
                self._mark(event.at, event.sender, MarkKind.REFUSED, text, arrow=arrow)
                return

    def _land(self, number: int, at: float, lost: str) -> None:
        arrow = self._under_way.pop(number, None)
        if arrow is None:
            return  # sent before the story began
        arrow.landed_at = at
        arrow.lost = lost
        if not lost:
            self._landed[arrow.to].append(arrow)
        self.order.append(arrow)

    def _client(self, at: float, sender: Lane, to: Lane, text: str, *, client: str, lost: str = "") -> None:
        if client not in self.clients:
            self.clients.append(client)
        arrow = Arrow(0, sender, to, Kind.CLIENT, text, text, at, at, lost)
        self.arrows.append(arrow)
        self.order.append(arrow)

    # Facts

    def _durable(self, at: float, node: NodeId, record: Record) -> None:
        match record:
            case PromiseRecord(ballot):
                own = " itself" if ballot.node_id == node else ""
                arrow = self._cause(node, lambda m: isinstance(m, Prepare) and m.ballot == ballot)
                self._mark(at, node, MarkKind.PROMISED, f"promises {ballot}{own}", ballot=ballot, arrow=arrow)
            case AcceptRecord(slot, ballot):
                self._accepted(at, node, slot, ballot)
            case LearnRecord(slot):
                arrow = self._cause(node, lambda m: isinstance(m, Decided) and any(e.slot == slot for e in m.entries))
                text = f"learns slot {slot}"
                self._mark(at, node, MarkKind.LEARNED, text, slots=(slot, Slot(slot + 1)), arrow=arrow)

    def _accepted(self, at: float, node: NodeId, slot: Slot, ballot: Ballot) -> None:
        voters = self._voters.setdefault((slot, ballot), {})
        voters[node] = None
        kind, own = MarkKind.ACCEPTED, " itself" if ballot.node_id == node else ""
        text = f"accepts slot {slot} at {ballot}{own}"
        if slot not in self.chosen_at and is_quorum(self._configuration_at(slot), voters):
            self.chosen_at[slot] = ballot
            kind, text = MarkKind.CHOSEN, f"{text}; a quorum has it: chosen"
        arrow = self._cause(node, lambda m: isinstance(m, Accept) and (m.slot, m.ballot) == (slot, ballot))
        self._mark(at, node, kind, text, slots=(slot, Slot(slot + 1)), ballot=ballot, arrow=arrow)

    def _applied(self, at: float, node: NodeId, start: Slot, end: Slot) -> None:
        last = Slot(end - 1)

        def tells(message: AnyMessage) -> bool:
            match message:
                case Accepted(_, first, after):
                    return first <= last < after
                case Accept() | Heartbeat():
                    return message.decided_end >= end
                case Decided(entries):
                    return any(entry.slot == last for entry in entries)
                case _:
                    return False

        arrow = self._cause(node, tells)
        text = f"decides and applies {slots_words(start, end)}"
        self._mark(at, node, MarkKind.DECIDED, text, slots=(start, end), arrow=arrow)

    def _leadership(self, event: events.LeadershipChanged) -> None:
        ballot, causes = event.ballot, _CAUSES[event.role]
        arrow = self._cause(event.node, lambda m: isinstance(m, causes))
        match event.role:
            case Role.LEADER:
                self.led.append(str(ballot))
                kind, text = MarkKind.LEADS, f"has a quorum of promises and leads in ballot {ballot}"
            case Role.CANDIDATE:
                kind, text = MarkKind.STANDS, f"stands: raises ballot {ballot}"
            case Role.FOLLOWER if event.leader is None:
                kind, text = MarkKind.LEADERLESS, "knows no leader"
                arrow = self._cause(event.node, lambda m: isinstance(m, Prepare | Nack))
            case Role.FOLLOWER:
                kind, text = MarkKind.FOLLOWS, f"follows {event.leader}"
        self._mark(event.at, event.node, kind, text, ballot=ballot, arrow=arrow)

    def _cause(self, node: NodeId, fits: Callable[[AnyMessage], bool]) -> Arrow | None:
        """The newest message that fits, among those that lately came to the node."""
        for arrow in reversed(self._landed[str(node)]):
            assert arrow.landed_at is not None
            if arrow.landed_at < self.now - NEWS_S:
                return None
            if arrow.message is not None and fits(arrow.message):
                return arrow
        return None

    def _mark(
        self,
        at: float,
        node: NodeId,
        kind: MarkKind,
        text: str,
        *,
        slots: tuple[Slot, Slot] | None = None,
        ballot: Ballot | None = None,
        arrow: Arrow | None = None,
    ) -> None:
        mark = Mark(at, str(node), kind, text, slots, ballot, arrow)
        self.marks.append(mark)
        if arrow is not None:
            arrow.effects.append(mark)
        else:
            self.order.append(mark)


_CAUSES: Final[dict[Role, tuple[type, ...]]] = {
    Role.LEADER: (Promise,),
    Role.CANDIDATE: (SuspectReply, Transfer),
    Role.FOLLOWER: (Heartbeat, Accept),
}


def _record_words(record: Record) -> str:
    match record:
        case PromiseRecord(ballot):
            return f"a promise of {ballot}"
        case AcceptRecord(slot, ballot, value):
            return f"slot {slot} at {ballot} {value_words(value)}"
        case LearnRecord(slot):
            return f"slot {slot}, learned"
