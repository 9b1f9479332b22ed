"""What stories in a world need: a leader, a write, a read, and how they ended."""

from dataclasses import dataclass, field

from kvproto.etcd.rpc_pb2 import RangeResponse

from kvstore.paxos.types import NodeId
from kvstore.testing.checking.model import Action, Put, Range
from kvstore.testing.sim import World, WorldConfig
from kvstore.testing.sim.calls import Reply
from kvstore.testing.sim.clients import Attempt, Script, outcome_of
from kvstore.testing.sim.events import Consistency

__all__ = ["Asked", "ask", "elect", "read", "started", "write"]


@dataclass
class Asked:
    """A request on its way: ``replies`` has one reply once it came back."""

    replies: list[Reply] = field(default_factory=list)

    @property
    def reply(self) -> Reply:
        (reply,) = self.replies
        return reply


def started(*, seed: int = 1, **settings: object) -> World:
    """A world whose nodes have just been started."""
    world = World(seed, WorldConfig(**settings))  # type: ignore[arg-type]
    world.start()
    return world


def elect(world: World) -> NodeId:
    """Waits for a leader that all members who run follow."""

    def agreed() -> bool:
        leader = world.leader()
        members = [n for n in world.up if n in world.consensus.members()]
        return leader is not None and all(world.processes[n].status().leader == leader for n in members)

    assert world.run_until(agreed, within_s=world.config.liveness_bound_s)
    leader = world.leader()
    assert leader is not None
    return leader


def ask(
    world: World,
    node_id: NodeId,
    action: Action,
    *,
    timeout_s: float = 1000.0,
    session: int = 0,
    sequence: int = 0,
    serializable: bool = False,
) -> Asked:
    """Sends one request to one node and does not wait."""
    asked = Asked()
    client = world.client(f"asker{len(world.clients) + 1}")
    consistency = Consistency.SERIALIZABLE if serializable else Consistency.LINEARIZABLE

    def script() -> Script:
        operation = None if serializable else client.begin(action, session=session, sequence=sequence)
        reply = yield Attempt(node_id, action, timeout_s, session, sequence, consistency)
        assert reply is not None
        asked.replies.append(reply)
        if operation is not None:
            client.end(operation, outcome_of(reply))

    client.run(script())
    return asked


def write(world: World, node_id: NodeId, key: bytes, value: bytes) -> Asked:
    """A put that is waited for."""
    asked = ask(world, node_id, Put(key, value))
    assert world.run_until(lambda: bool(asked.replies), within_s=world.config.liveness_bound_s)
    return asked


def read(world: World, node_id: NodeId, key: bytes, *, serializable: bool = False) -> bytes | None:
    """The value of a key, waited for."""
    asked = ask(world, node_id, Range(key), serializable=serializable)
    assert world.run_until(lambda: bool(asked.replies), within_s=world.config.liveness_bound_s)
    reply = asked.reply
    assert isinstance(reply, RangeResponse), reply
    return reply.kvs[0].value if reply.kvs else None
