"""How a cluster comes into being, once: every node hears from every other who it is, and that it heard the same.

Each node knows the nodes it was told of (``--peers``) by number and address. It asks each, again and again, for its
birth id and for the births it has heard so far, and believes about a node only what that node says itself. It forms
when its set is complete and every other node has answered with the same complete set. The cluster's id is a digest of
that set.

No two nodes can form with different sets. Say 1 forms with S while 3 forms with T. 1 counts only answers to questions
it asked after its set became S (``generation``), so 3 had S at some moment t while 1 had S and until 1 formed; for the
same reason 1 had T at some moment u while 3 had T and until 3 formed. A formed node's set stays. So t lies before 3
came to T, hence before u; and u lies before 1 came to S, hence before t: impossible. A node that crashes between
deciding and storing has told nobody: it answers with a cluster id only once that is stored (``stored``).

A node that has not formed and meets one that has adopts its set if it is in it under its own birth id. If the set has
another birth id for its number, its disk was wiped or replaced, and it must not vote (L11).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kvproto import paxos_pb2 as pb

from kvstore.paxos.types import NodeId
from kvstore.transport.handshake import PROTOCOL_VERSION

__all__ = ["BIRTH_ID_BYTES", "Formation", "FormationRefused", "Formed", "Question", "cluster_id_of", "normalize_peers"]

BIRTH_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Formed:
    """The cluster's identity: 8 bytes, as an unsigned number not zero, and who its first members are."""

    cluster_id: bytes
    births: Mapping[NodeId, bytes]


@dataclass(frozen=True, slots=True)
class FormationRefused:
    """This node can never be part of the cluster that it was told of, as things are. ``reason`` says what to do."""

    reason: str


@dataclass(frozen=True, slots=True)
class Question:
    """A request, and which state of our knowledge it carries: needed to judge its answer."""

    request: pb.HelloRequest
    generation: int


def cluster_id_of(births: Mapping[NodeId, bytes]) -> bytes:
    """8 bytes that every node derives alike from the same set, never all zero: etcd's clients take 0 for unknown."""
    digest = hashlib.sha256()
    for node_id in sorted(births):
        digest.update(node_id.to_bytes(8, "big") + births[node_id])
    cluster_id = digest.digest()[:8]
    return cluster_id if any(cluster_id) else b"\x00" * 7 + b"\x01"


def normalize_peers(peers: Mapping[NodeId, str]) -> str:
    """``1=host:port,2=host:port``, by number: equal for equal sets, however they were written."""
    return ",".join(f"{node_id}={peers[node_id]}" for node_id in sorted(peers))


class Formation:
    """Pure: hears answers, gives questions and answers. ``peers`` has this node too; ``formed`` is what was stored.

    ``settings`` are what else all must have been told alike, in words.
    """

    def __init__(
        self,
        *,
        node_id: NodeId,
        birth_id: bytes,
        peers: Mapping[NodeId, str],
        settings: str = "",
        formed: Formed | None = None,
    ) -> None:
        assert len(birth_id) == BIRTH_ID_BYTES, f"a birth id of {len(birth_id)} bytes"
        assert node_id in peers or formed is not None, f"node {node_id} is not among the peers {sorted(peers)}"
        self.node_id = node_id
        self.peers = dict(sorted(peers.items()))
        self.outcome: Formed | FormationRefused | None = formed
        self._birth_id = birth_id
        self._peers_text = normalize_peers(peers) + (f" with {settings}" if settings else "")
        self._births: dict[NodeId, bytes] = {node_id: birth_id}
        self._generation = 0
        self._confirmed: set[NodeId] = set()
        self._stored = formed
        self._conclude()

    @property
    def others(self) -> dict[NodeId, str]:
        return {node_id: address for node_id, address in self.peers.items() if node_id != self.node_id}

    @property
    def waiting_for(self) -> tuple[NodeId, ...]:
        """Those that have not said who they are or not confirmed the whole set yet."""
        if self.outcome is not None:
            return ()
        return tuple(node_id for node_id in self.others if node_id not in self._confirmed)

    def ask(self) -> Question:
        request = pb.HelloRequest(
            protocol_version=PROTOCOL_VERSION,
            node_id=self.node_id,
            birth_id=self._birth_id,
            known=_births_to_wire(self._births),
            peers=self._peers_text,
        )
        return Question(request, self._generation)

    def hear(self, node_id: NodeId, question: Question, reply: pb.HelloReply) -> None:
        """What the node at ``node_id``'s address answered to ``question``."""
        if self.outcome is not None:
            return
        if reply.refusal:
            self._refuse(reply.refusal)
        elif reply.node_id != node_id:
            self._refuse(
                f"{self.peers[node_id]} should be node {node_id}, but is node {reply.node_id}: "
                f"correct --peers, which is {self._peers_text}"
            )
        elif reply.cluster_id:
            self._meet_formed(node_id, reply)
        elif reply.peers != self._peers_text:
            self._refuse(_peers_differ(self.node_id, self._peers_text, node_id, reply.peers))
        elif len(reply.birth_id) == BIRTH_ID_BYTES:
            self._meet_unformed(node_id, question.generation, reply)

    def answer(self, request: pb.HelloRequest) -> pb.HelloReply:
        """The answer for another node: who we are, what we know, and why it can never belong to us, if so."""
        births = self._stored.births if self._stored else self._births
        return pb.HelloReply(
            node_id=self.node_id,
            birth_id=self._birth_id,
            known=_births_to_wire(births),
            cluster_id=self._stored.cluster_id if self._stored else b"",
            peers=self._peers_text,
            refusal=self._refusal_for(request) or "",
        )

    def stored(self, formed: Formed) -> None:
        """The outcome is on the disk: from now on others may rely on it."""
        assert formed == self.outcome, "only what was decided is stored"
        self._stored = formed

    def _meet_unformed(self, node_id: NodeId, generation: int, reply: pb.HelloReply) -> None:
        if self._births.get(node_id) != reply.birth_id:
            twins = [other for other, birth_id in self._births.items() if birth_id == reply.birth_id]
            if twins:
                self._refuse(
                    f"nodes {twins[0]} and {node_id} have one birth id, {reply.birth_id.hex()}: a data directory was "
                    "copied; give one of them an empty one"
                )
                return
            self._births[node_id] = reply.birth_id
            self._generation += 1
            self._confirmed.clear()
        complete = len(self._births) == len(self.peers)
        if complete and generation == self._generation and _births_from_wire(reply) == self._births:
            self._confirmed.add(node_id)
        self._conclude()

    def _meet_formed(self, node_id: NodeId, reply: pb.HelloReply) -> None:
        births = _births_from_wire(reply)
        if cluster_id_of(births) != reply.cluster_id:
            self._refuse(
                f"node {node_id} names cluster {reply.cluster_id.hex()}, "
                f"but its members make {cluster_id_of(births).hex()}"
            )
        elif births.get(self.node_id) != self._birth_id:
            self._refuse(_not_in(self.node_id, self._birth_id, reply.cluster_id, births))
        elif sorted(births) != sorted(self.peers):
            self._refuse(_peers_differ(self.node_id, self._peers_text, node_id, reply.peers))
        else:
            self.outcome = Formed(reply.cluster_id, births)

    def _conclude(self) -> None:
        if self.outcome is None and len(self._confirmed) == len(self.others):
            births = {node_id: self._births[node_id] for node_id in sorted(self._births)}
            self.outcome = Formed(cluster_id_of(births), births)

    def _refuse(self, reason: str) -> None:
        self.outcome = FormationRefused(reason)

    def _refusal_for(self, request: pb.HelloRequest) -> str | None:
        caller = NodeId(request.node_id)
        if request.protocol_version != PROTOCOL_VERSION:
            return (
                f"node {caller} speaks protocol version {request.protocol_version}, "
                f"node {self.node_id} {PROTOCOL_VERSION}"
            )
        if caller == self.node_id and request.birth_id != self._birth_id:
            return f"node {caller} calls node {self.node_id}: two nodes run under one id"
        if self._stored is not None:
            if self._stored.births.get(caller) != request.birth_id:
                return _not_in(caller, request.birth_id, self._stored.cluster_id, self._stored.births)
            return None
        if request.peers != self._peers_text:
            return _peers_differ(caller, request.peers, self.node_id, self._peers_text)
        return None


def _not_in(node_id: NodeId, birth_id: bytes, cluster_id: bytes, births: Mapping[NodeId, bytes]) -> str:
    if node_id not in births:
        known = ", ".join(str(member) for member in sorted(births))
        return f"cluster {cluster_id.hex()} was formed by nodes {known}: node {node_id} is not one of them"
    return (
        f"this node's data directory was wiped or replaced: the cluster {cluster_id.hex()} knows node {node_id} by "
        f"birth id {births[node_id].hex()}, this directory has {birth_id.hex()}; it may have forgotten its promises "
        "and must not vote (L11). Start it with its former directory, or, if that is lost, remove the member and add a "
        "new one"
    )


def _peers_differ(one: NodeId, one_peers: str, other: NodeId, other_peers: str) -> str:
    return f"--peers differ: node {one} was told {one_peers}, node {other} was told {other_peers}; give all the same"


def _births_to_wire(births: Mapping[NodeId, bytes]) -> list[pb.Birth]:
    return [pb.Birth(node_id=node_id, birth_id=births[node_id]) for node_id in sorted(births)]


def _births_from_wire(reply: pb.HelloReply) -> dict[NodeId, bytes]:
    return {NodeId(birth.node_id): birth.birth_id for birth in sorted(reply.known, key=lambda birth: birth.node_id)}
