"""Where stories take place: a world, who listens to it, and what a storyteller may do to it."""

import sys
from collections.abc import Callable, Iterable, Sequence

from kvproto.command_pb2 import Entry
from kvproto.etcd.rpc_pb2 import PutRequest

from kvstore.paxos.effects import Role
from kvstore.paxos.messages import Transfer
from kvstore.paxos.types import Ballot, NodeId
from kvstore.replica.replica import Replica
from kvstore.testing.checking.history import Failed, Unknown
from kvstore.testing.checking.model import Action, Put, Response
from kvstore.testing.cli.record import Recorder
from kvstore.testing.cli.story import Story
from kvstore.testing.sim import LawBroken, World, WorldConfig
from kvstore.testing.sim.actions import response_of
from kvstore.testing.sim.clients import Attempt, Client, Pause, Script
from kvstore.testing.sim.events import Event, FaultBegan, FaultEnded
from kvstore.testing.sim.process import Condition, Process

__all__ = ["CLIENTS", "Stage", "teaching_config"]

CLIENTS = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan")


def teaching_config(nodes: int) -> WorldConfig:
    """Times as in one city, and turns that do not stand still for the disk: causes stay close to effects."""
    return WorldConfig(
        nodes=nodes,
        heartbeat_s=0.1,
        election_timeout_s=0.5,
        latency_s=0.005,
        commit_s=0.002,
        inline_commits=False,
        checkpoint_chance=0.0,
    )


class Stage:
    """``tell`` is given the lines of the story as they come; None: nobody wants them."""

    def __init__(
        self,
        seed: int,
        config: WorldConfig,
        *,
        tell: Callable[[str], None] | None = None,
        heartbeats: bool = False,
    ) -> None:
        self.seed = seed
        self.world = World(seed, config)
        self.recorder = Recorder(self.world.node_ids, self.world.consensus.configuration_at)
        self.world.trace.subscribe(self.recorder.hear)
        self.story = Story(self.recorder, tell or (lambda _line: None), heartbeats=heartbeats)
        self.world.trace.subscribe(self.story.hear)
        self._watched: list[Callable[[Event], bool]] = []
        self.world.trace.subscribe(self._watch)
        self.decided_before = 0
        """How many slots were decided before the story began."""
        self._faults = 0
        self._seen = False

    # Time

    def until(self, what: str, done: Callable[[], bool], *, timeouts: float | None = None) -> None:
        """Goes on until ``done``. Raises LawBroken where that takes longer than the world has for anything."""
        config = self.world.config
        within_s = config.liveness_bound_s if timeouts is None else timeouts * config.election_timeout_s
        if not self.world.run_until(done, within_s=within_s):
            raise LawBroken(
                "liveness",
                f"after {within_s:g} s it was not so: {what}",
                seed=self.seed,
                at=self.world.scheduler.now,
                events=self.world.trace.last,
            )

    def until_event(self, what: str, fits: Callable[[Event], bool]) -> None:
        """Goes on until an event that fits has just happened."""
        self._seen = False
        self._watched.append(fits)
        self.until(what, lambda: self._seen)
        self._watched.clear()

    def _watch(self, event: Event) -> None:
        self._seen = self._seen or any(fits(event) for fits in self._watched)

    # The story

    def begin(self, text: str) -> None:
        """The story begins here, in a cluster that has already got so far."""
        self.decided_before = self.world.consensus.decided_end
        self.recorder.forget_the_past()
        self.story.begin()
        self.note(text)

    def note(self, text: str) -> None:
        self.recorder.note(text)

    # Nodes

    def process(self, node: int) -> Process:
        return self.world.processes[NodeId(node)]

    def stand(self, node: int) -> None:
        """The node tries to lead at once, without asking the others first whether they hear a leader."""
        asked = Transfer(Ballot(sys.maxsize, NodeId(node)))  # above whatever it has promised: it is only compared

        def act(replica: Replica, now: float) -> None:
            replica.receive(NodeId(node), asked, now)

        self.process(node).inject(act)

    def leads(self, node: int) -> bool:
        process = self.process(node)
        return process.condition is Condition.RUNNING and process.status().role is Role.LEADER

    def follows(self, node: int) -> bool:
        process = self.process(node)
        return process.condition is Condition.RUNNING and process.status().role is Role.FOLLOWER

    def settled(self) -> bool:
        """Someone leads, all that run follow, and nobody has anything left to apply."""
        leader = self.world.leader()
        running = [p for p in self.world.processes.values() if p.condition is Condition.RUNNING]
        return (
            leader is not None
            and all(p.status().leader == leader for p in running)
            and self.world.caught_up(p.node_id for p in running)
        )

    def start_connected(self) -> None:
        """A fresh cluster in which all are connected and nobody has tried to lead yet."""
        self.world.start()
        nodes = self.world.config.nodes
        links = nodes * (nodes - 1)
        self.until("all are connected", lambda: self.world.trace.counts.get("LinkUp", 0) == links)

    def start_with_leader(self, node: int) -> None:
        """A fresh cluster in which ``node`` leads, all others know it, and each has a session for its clients' writes.

        A node opens one before it proposes the first of them; a story should not be interrupted by that. The story
        is yet to ``begin``.
        """
        self.story.has_begun = False
        self.start_connected()
        self.stand(node)
        self.until(f"node {node} leads, and all know it", lambda: self.leads(node) and self.settled())
        for opened, opener in enumerate(self.world.node_ids, 1):
            self._open_session(opener)
            self.until(
                f"node {opener} has a session",
                lambda: self.world.consensus.decided_end == opened and self.settled(),  # noqa: B023  called at once
            )

    def _open_session(self, node: NodeId) -> None:
        """By a write that is taken back while the session opens."""
        tickets: list[int] = []
        entry = Entry(put=PutRequest(key=b"never written"))
        self.process(node).inject(lambda replica, _now: tickets.append(replica.write(entry)))
        self.until("the write was taken", lambda: bool(tickets))
        self.process(node).inject(lambda replica, _now: replica.forget_write(tickets[0]))

    def restart(self, *nodes: int) -> None:
        for node in nodes:
            self.world.restart(node)

    # Links

    def cut(self, text: str, lanes: Iterable[tuple[int, int]]) -> None:
        """Cuts lanes (sender, to), and says so."""
        for sender, to in lanes:
            self.world.cut(sender, to)
        self._faults += 1
        self.world.trace.emit(FaultBegan(self.world.scheduler.now, self._faults, "cut", text))

    def heal(self) -> None:
        """All lanes that were cut by hand are whole again."""
        self.world.heal()
        self.world.trace.emit(FaultEnded(self.world.scheduler.now, self._faults, "cut"))

    # Clients

    def put(
        self, name: str, node: int, key: str, value: str, *, timeouts: float = 4.0, nodes: Sequence[int] = ()
    ) -> Client:
        """The client writes through ``node``; where the write was certainly not done it tries the other ``nodes``."""
        client = next((c for c in self.world.clients if c.name == name), None) or self.world.client(name)
        client.done = False
        timeout_s = timeouts * self.world.config.election_timeout_s
        action = Put(key.encode(), value.encode())
        client.run(_say(client, [NodeId(n) for n in (node, *nodes)], action, timeout_s))
        return client


def _say(client: Client, nodes: Sequence[NodeId], action: Action, timeout_s: float) -> Script:
    """One operation: tried at one node after the other until it is answered, or nobody knows what became of it."""
    assert isinstance(action, Put)
    operation = client.begin(action)
    for node in nodes:
        reply = yield Attempt(node, action, timeout_s)
        if isinstance(reply, Failed):
            yield Pause(timeout_s / 20)
            continue
        known = None if reply is None or isinstance(reply, Unknown) else response_of(reply)  # type: ignore[arg-type]
        client.end(operation, known if isinstance(known, Response) else Unknown(str(reply)))
        return
    client.end(operation, Failed("never taken"))
