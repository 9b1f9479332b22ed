"""Who is calling: the first frame of every stream, and whether to listen to it.

Pure: building, reading and judging a handshake touch no socket and no clock. A refusal is a sentence that names both
values, for it is all that an operator on the refused side gets to see.

A node that was wiped (another birth id) or whose old directory was put back (a log that went back) may have forgotten
promises, so nobody listens to it (L11). The log sequence is the only trace of the second case: every node remembers the
highest that each peer has shown, and a peer shows it again while it runs.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kvproto import paxos_pb2 as pb

from kvstore.paxos.types import NodeId
from kvstore.transport.codec import NUMBER_MAX, MalformedMessage

__all__ = [
    "PROTOCOL_VERSION",
    "Expectation",
    "Handshake",
    "Lane",
    "handshake_from_wire",
    "handshake_to_wire",
    "refusal",
]

PROTOCOL_VERSION: Final = 1


class Lane(enum.Enum):
    """A lane is a connection of its own: bulk never delays what keeps a leader alive."""

    PROTOCOL = "protocol"
    BULK = "bulk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """What the dialer says of itself. ``log_sequence``: of its last durable record at this moment."""

    cluster_id: bytes
    node_id: NodeId
    birth_id: bytes
    incarnation: int
    configuration_epoch: int
    log_sequence: int
    to_node_id: NodeId
    lane: Lane
    protocol_version: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What the answering node knows, of itself and of the caller.

    ``members`` are those of its configuration, ``births`` those that the cluster formed with or learned since.
    ``incarnation_seen`` and ``log_sequence_seen`` are the highest that the caller has shown, 0 where it has shown none.
    """

    node_id: NodeId
    cluster_id: bytes
    members: tuple[NodeId, ...]
    births: Mapping[NodeId, bytes]
    incarnation_seen: int
    log_sequence_seen: int


def refusal(handshake: Handshake, expected: Expectation) -> str | None:
    """Why the answering node does not listen to this caller, None where it does."""
    caller = handshake.node_id
    if handshake.protocol_version != PROTOCOL_VERSION:
        return f"node {caller} speaks protocol version {handshake.protocol_version}, this node {PROTOCOL_VERSION}"
    if handshake.cluster_id != expected.cluster_id:
        return (
            f"node {caller} belongs to cluster {handshake.cluster_id.hex() or 'none'}, "
            f"this node to cluster {expected.cluster_id.hex()}"
        )
    if handshake.to_node_id != expected.node_id:
        return f"node {caller} wants node {handshake.to_node_id}, but reached node {expected.node_id}"
    if caller == expected.node_id:
        return f"node {caller} calls node {expected.node_id}: two nodes run under one id"
    if caller not in expected.members or caller not in expected.births:
        known = ", ".join(str(member) for member in expected.members)
        return f"node {caller} is not a member: the configuration has nodes {known}"
    birth_id = expected.births[caller]
    if handshake.birth_id != birth_id:
        return (
            f"node {caller} has birth id {handshake.birth_id.hex()}, but the cluster knows it by {birth_id.hex()}: "
            "its data directory was wiped or replaced (L11)"
        )
    if handshake.incarnation < expected.incarnation_seen:
        return (
            f"node {caller} comes with incarnation {handshake.incarnation}, but incarnation "
            f"{expected.incarnation_seen} of it was here already"
        )
    if handshake.log_sequence < expected.log_sequence_seen:
        return (
            f"node {caller} cannot prove its log: its log went back: "
            f"it had {expected.log_sequence_seen}, now says {handshake.log_sequence} (L11)"
        )
    return None


def handshake_to_wire(handshake: Handshake) -> pb.Handshake:
    return pb.Handshake(
        protocol_version=handshake.protocol_version,
        cluster_id=handshake.cluster_id,
        node_id=handshake.node_id,
        birth_id=handshake.birth_id,
        incarnation=handshake.incarnation,
        configuration_epoch=handshake.configuration_epoch,
        log_sequence=handshake.log_sequence,
        to_node_id=handshake.to_node_id,
        lane=_LANE_TO_WIRE[handshake.lane],
    )


def handshake_from_wire(frame: pb.Frame) -> Handshake:
    """The handshake in ``frame``. MalformedMessage where there is none, or one that no node can have sent."""
    if not frame.HasField("handshake"):
        raise MalformedMessage("a stream begins with a handshake, this one does not")
    wire = frame.handshake
    lane = _LANE_FROM_WIRE.get(wire.lane)
    if lane is None:
        raise MalformedMessage(f"node {wire.node_id} asks for lane {wire.lane}, which does not exist")
    if wire.node_id == 0:
        raise MalformedMessage("a handshake from node 0, which is nobody")
    for name in ("incarnation", "configuration_epoch", "log_sequence"):
        if getattr(wire, name) > NUMBER_MAX:
            raise MalformedMessage(f"node {wire.node_id} has {name} {getattr(wire, name)}, above {NUMBER_MAX}")
    return Handshake(
        protocol_version=wire.protocol_version,
        cluster_id=wire.cluster_id,
        node_id=NodeId(wire.node_id),
        birth_id=wire.birth_id,
        incarnation=wire.incarnation,
        configuration_epoch=wire.configuration_epoch,
        log_sequence=wire.log_sequence,
        to_node_id=NodeId(wire.to_node_id),
        lane=lane,
    )


_LANE_TO_WIRE = {Lane.PROTOCOL: pb.LANE_PROTOCOL, Lane.BULK: pb.LANE_BULK}
_LANE_FROM_WIRE: dict[int, Lane] = {wire: lane for lane, wire in _LANE_TO_WIRE.items()}
