"""A world in which hellos are lost or late, nodes restart and disks are wiped: one cluster forms, at most."""

from dataclasses import dataclass, field
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from kvproto import paxos_pb2 as pb

from kvstore.paxos.types import NodeId
from kvstore.transport.formation import (
    Formation,
    Formed,
    Question,
    cluster_id_of,
)
from tests.transport.formations import birth, peers, reason
from tests.transport.messages import EXAMPLES


@dataclass
class Disk:
    birth_id: bytes
    formed: Formed | None = None


@dataclass
class World:
    """``questions`` and ``answers`` are under way: (asker's process, answerer's id, ...), delivered in any order."""

    rng: Random
    size: int
    disks: dict[NodeId, Disk] = field(default_factory=dict)
    running: dict[NodeId, Formation] = field(default_factory=dict)
    questions: list[tuple[Formation, NodeId, Question]] = field(default_factory=list)
    answers: list[tuple[Formation, NodeId, Question, pb.HelloReply]] = field(default_factory=list)
    births: int = 0

    def __post_init__(self) -> None:
        for node_id in peers(*range(1, self.size + 1)):
            self.wipe(node_id)

    def wipe(self, node_id: NodeId) -> None:
        self.births += 1
        self.disks[node_id] = Disk(birth(self.births))
        self.restart(node_id)

    def restart(self, node_id: NodeId) -> None:
        disk = self.disks[node_id]
        told = peers(*range(1, self.size + 1))
        self.running[node_id] = Formation(node_id=node_id, birth_id=disk.birth_id, peers=told, formed=disk.formed)

    def ask(self, node_id: NodeId, chance: float = 1.0) -> None:
        asker = self.running[node_id]
        self.questions += [(asker, other, asker.ask()) for other in asker.others if self.rng.random() < chance]

    def answer(self) -> None:
        asker, node_id, question = self.questions.pop(self.rng.randrange(len(self.questions)))
        self.answers.append((asker, node_id, question, self.running[node_id].answer(question.request)))

    def hear(self) -> None:
        asker, node_id, question, reply = self.answers.pop(self.rng.randrange(len(self.answers)))
        if self.running[asker.node_id] is asker:  # else its process is gone
            asker.hear(node_id, question, reply)

    def store(self, node_id: NodeId) -> None:
        running, disk = self.running[node_id], self.disks[node_id]
        if isinstance(running.outcome, Formed) and disk.formed is None:
            disk.formed = running.outcome
            running.stored(running.outcome)

    def step(self, *, wipes: bool) -> None:
        node_id = NodeId(self.rng.randint(1, self.size))
        weights = {"ask": 8, "answer": 18, "hear": 18, "store": 2, "lose": 2, "restart": 1, "wipe": 1}
        match self.rng.choices(list(weights), list(weights.values()))[0]:
            case "ask":
                self.ask(node_id, chance=0.7)
            case "answer" if self.questions:
                self.answer()
            case "hear" if self.answers:
                self.hear()
            case "store":
                self.store(node_id)
            case "lose":
                under_way = self.rng.choice((self.questions, self.answers))
                if under_way:
                    under_way.pop(self.rng.randrange(len(under_way)))
            case "restart":
                self.restart(node_id)
            case "wipe" if wipes:
                self.wipe(node_id)

    def settle(self) -> None:
        """From here on nothing is lost and everybody goes on asking."""
        for _ in range(6):
            for node_id in self.running:
                self.ask(node_id)
            while self.questions:
                self.answer()
            while self.answers:
                self.hear()
            for node_id in self.running:
                self.store(node_id)

    def clusters(self) -> set[bytes]:
        stored = [disk.formed for disk in self.disks.values() if disk.formed]
        decided = [node.outcome for node in self.running.values() if isinstance(node.outcome, Formed)]
        return {formed.cluster_id for formed in stored + decided}


@EXAMPLES
@given(seed=st.integers(0, 2**32), size=st.integers(1, 5))
def test_whatever_is_lost_or_restarted_one_cluster_forms(seed: int, size: int) -> None:
    """No two nodes ever form differently, and once the network is calm all have formed with what is on the disks."""
    world = World(Random(seed), size)

    for _ in range(150):
        world.step(wipes=False)
        assert len(world.clusters()) <= 1
    world.settle()

    births = {node_id: disk.birth_id for node_id, disk in world.disks.items()}
    formed = Formed(cluster_id_of(births), births)
    assert [disk.formed for disk in world.disks.values()] == [formed] * size
    assert [node.outcome for node in world.running.values()] == [formed] * size


@EXAMPLES
@given(seed=st.integers(0, 2**32), size=st.integers(2, 4))
def test_even_when_disks_are_wiped_no_second_cluster_forms(seed: int, size: int) -> None:
    """Of all that is on the disks and decided in processes at any moment, there is one cluster at most.

    A wiped node that the others formed with is told so; it never gets in under its new birth id.
    """
    rng = Random(seed)
    for _ in range(4):  # most of what happens happens while a cluster forms
        world = World(rng, size)
        for _ in range(80):
            world.step(wipes=True)
            assert len(world.clusters()) <= 1
        world.settle()

        assert len(world.clusters()) <= 1
        for node_id, disk in world.disks.items():
            for other in world.disks.values():
                if other.formed is not None and other.formed.births[node_id] != disk.birth_id:
                    assert disk.formed is None
                    assert "was wiped or replaced" in reason(world.running[node_id])
