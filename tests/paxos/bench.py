"""One core on a bench: a story feeds it messages by hand and looks at everything that comes out."""

from random import Random

from kvstore.paxos.config import PaxosConfig
from kvstore.paxos.core import Paxos
from kvstore.paxos.durable import AcceptedValue, DurableState, GoverningConfiguration
from kvstore.paxos.effects import Effects
from kvstore.paxos.messages import (
    Accepted,
    AcceptedEntry,
    Envelope,
    Heartbeat,
    HeartbeatReply,
    Message,
    Prepare,
    Promise,
    Suspect,
    SuspectReply,
)
from kvstore.paxos.types import ZERO_BALLOT, Application, Ballot, Configuration, NodeId, Slot, WriteId

__all__ = ["Bench", "app", "ballot", "config_of", "confirm", "entry", "heartbeats", "node", "slot", "to_all"]


def node(number: int) -> NodeId:
    return NodeId(number)


def slot(number: int) -> Slot:
    return Slot(number)


def ballot(round_: int, node_id: int) -> Ballot:
    return Ballot(round_, NodeId(node_id))


def app(text: str) -> Application:
    return Application(text.encode())


def entry(number: int, at: tuple[int, int], text: str) -> AcceptedEntry:
    return AcceptedEntry(slot(number), ballot(*at), app(text))


def config_of(*voters: int, epoch: int = 1, learners: tuple[int, ...] = ()) -> Configuration:
    return Configuration(epoch, tuple(map(NodeId, voters)), tuple(map(NodeId, learners)))


class Bench:
    """``now`` is the core's clock; ``say`` feeds a message and drains; ``sync`` reports the last write persisted."""

    def __init__(
        self,
        node_id: int = 1,
        voters: tuple[int, ...] = (1, 2, 3),
        *,
        promised: Ballot = ZERO_BALLOT,
        accepted: dict[int, AcceptedValue] | None = None,
        first_slot: int = 0,
        decided_end: int = 0,
        governing: tuple[GoverningConfiguration, ...] = (),
        **settings: float,
    ) -> None:
        self.now = 0.0
        self.others = tuple(NodeId(v) for v in voters if v != node_id)
        self.core = Paxos(
            PaxosConfig(node_id=NodeId(node_id), **settings),  # type: ignore[arg-type]
            DurableState(
                configurations=governing or (GoverningConfiguration(Slot(0), config_of(*voters)),),
                promised=promised,
                accepted={Slot(s): known for s, known in (accepted or {}).items()},
                first_slot=Slot(first_slot),
                decided_end=Slot(decided_end),
            ),
            rng=Random(1),
            now=0.0,
        )
        self.write_id = WriteId(0)

    def drain(self) -> Effects:
        self.core.check_invariants()
        effects = self.core.take_effects()
        if effects.write is not None:
            self.write_id = effects.write.write_id
        self.core.check_invariants()
        return effects

    def say(self, sender: int, message: Message) -> Effects:
        self.core.receive(NodeId(sender), message, self.now)
        return self.drain()

    def sync(self) -> Effects:
        self.core.persisted(self.write_id, self.now)
        return self.drain()

    def propose(self, text: str) -> Effects:
        self.core.propose(text.encode(), self.now)
        return self.drain()

    def tick(self, after_s: float | None = None) -> Effects:
        """Moves the clock by ``after_s``, or to the next deadline, and ticks."""
        if after_s is None:
            deadline = self.core.next_deadline()
            assert deadline is not None
            self.now = max(self.now, deadline)
        else:
            self.now += after_s
        self.core.tick(self.now)
        return self.drain()

    # Ways into a state

    def stand(self) -> Ballot:
        """Everyone doubts with this node; it stands, and its own promise is durable."""
        effects = self.tick()
        suspicions = [e.message for e in effects.messages if isinstance(e.message, Suspect)]
        assert len(suspicions) == len(self.others)
        for other in self.others:
            self.say(other, SuspectReply(suspicions[0].suspicion, False, ZERO_BALLOT, Slot(0)))
        prepares = [e.message for e in self.sync().messages if isinstance(e.message, Prepare)]
        assert len(prepares) == len(self.others)
        return prepares[0].ballot

    def lead(self) -> Ballot:
        """Stands, and gathers empty promises from all."""
        return self.lead_at(0)

    def lead_at(self, decided_end: int) -> Ballot:
        """Stands, and gathers promises from all: nothing accepted, all slots below ``decided_end`` decided."""
        standing = self.stand()
        start = self.core.status().decided_end
        for other in self.others:
            self.say(other, Promise(standing, start, (), None, Slot(decided_end), Slot(0)))
        return standing

    def hear_back(self, sender: int, beat: Heartbeat, *, decided_end: int = 0) -> Effects:
        return self.say(sender, HeartbeatReply(beat.ballot, beat.read_round, beat.sent_at, Slot(decided_end)))

    def accepted_by(self, sender: int, at: Ballot, start: int, end: int | None = None) -> Effects:
        return self.say(sender, Accepted(at, Slot(start), Slot(start + 1 if end is None else end)))


def to_all(others: tuple[NodeId, ...], message: Message) -> tuple[Envelope, ...]:
    return tuple(Envelope(other, message) for other in others)


def heartbeats(bench: Bench) -> list[Heartbeat]:
    return [e.message for e in bench.tick().messages if isinstance(e.message, Heartbeat)]


def confirm(leader: Bench) -> tuple[int, Heartbeat]:
    """Begins a read; the heartbeat is the one that asks for it."""
    read_id = leader.core.confirm_leadership(leader.now)
    (beat, *_) = [e.message for e in leader.drain().messages if isinstance(e.message, Heartbeat)]
    return read_id, beat
