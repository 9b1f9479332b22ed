"""Who is heard: a table of callers, each wrong in one thing, and what each is told."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kvproto import paxos_pb2 as pb

from kvstore.paxos.types import NodeId
from kvstore.transport.codec import NUMBER_MAX, MalformedMessage, encode_frame, parse_frame
from kvstore.transport.handshake import (
    PROTOCOL_VERSION,
    Expectation,
    Handshake,
    Lane,
    handshake_from_wire,
    handshake_to_wire,
    refusal,
)
from tests.transport.messages import EXAMPLES, NODE_IDS

ME, PEER = NodeId(1), NodeId(2)
CLUSTER, BIRTH = b"\xc1" * 8, b"\xb2" * 16

CALLER = Handshake(
    cluster_id=CLUSTER,
    node_id=PEER,
    birth_id=BIRTH,
    incarnation=4,
    configuration_epoch=1,
    log_sequence=1_000,
    to_node_id=ME,
    lane=Lane.PROTOCOL,
)
EXPECTED = Expectation(
    node_id=ME,
    cluster_id=CLUSTER,
    members=(ME, PEER),
    births={ME: b"\xb1" * 16, PEER: BIRTH},
    incarnation_seen=4,
    log_sequence_seen=1_000,
)

WRONG = {
    "its protocol": (
        {"protocol_version": PROTOCOL_VERSION + 1},
        f"node 2 speaks protocol version {PROTOCOL_VERSION + 1}, this node {PROTOCOL_VERSION}",
    ),
    "its cluster": (
        {"cluster_id": b"\xdd" * 8},
        "node 2 belongs to cluster dddddddddddddddd, this node to cluster c1c1c1c1c1c1c1c1",
    ),
    "no cluster": ({"cluster_id": b""}, "node 2 belongs to cluster none, this node to cluster c1c1c1c1c1c1c1c1"),
    "whom it wants": ({"to_node_id": NodeId(3)}, "node 2 wants node 3, but reached node 1"),
    "my own number": ({"node_id": ME}, "node 1 calls node 1: two nodes run under one id"),
    "no member": ({"node_id": NodeId(9)}, "node 9 is not a member: the configuration has nodes 1, 2"),
    "its birth": (
        {"birth_id": b"\xee" * 16},
        (
            f"node 2 has birth id {'ee' * 16}, but the cluster knows it by {'b2' * 16}: "
            "its data directory was wiped or replaced (L11)"
        ),
    ),
    "its incarnation": (
        {"incarnation": 3},
        "node 2 comes with incarnation 3, but incarnation 4 of it was here already",
    ),
    "its log": (
        {"log_sequence": 999},
        "node 2 cannot prove its log: its log went back: it had 1000, now says 999 (L11)",
    ),
}


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize(("wrong", "said"), WRONG.values(), ids=WRONG)
def test_each_wrong_thing_is_refused_and_both_values_are_named(wrong: dict[str, object], said: str, lane: Lane) -> None:
    """One wrong field is enough on either lane, and the sentence is all that the operator needs."""
    assert refusal(dataclasses.replace(CALLER, lane=lane, **wrong), EXPECTED) == said


@pytest.mark.parametrize("lane", Lane)
@pytest.mark.parametrize(
    "right",
    [
        {},
        {"incarnation": 5},
        {"incarnation": 5, "log_sequence": 1_000_000},
        {"configuration_epoch": 0},
        {"configuration_epoch": 7},
    ],
)
def test_a_peer_that_can_prove_itself_is_heard(right: dict[str, object], lane: Lane) -> None:
    """A restart, a grown log and another epoch are no reason to refuse: a configuration travels through the log."""
    assert refusal(dataclasses.replace(CALLER, lane=lane, **right), EXPECTED) is None


def test_a_peer_that_was_never_here_is_heard_with_an_empty_log() -> None:
    """Nothing seen is no expectation."""
    fresh = dataclasses.replace(EXPECTED, incarnation_seen=0, log_sequence_seen=0)

    assert refusal(dataclasses.replace(CALLER, incarnation=1, log_sequence=0), fresh) is None


def test_a_member_whose_birth_nobody_knows_is_not_heard() -> None:
    """Its number is not proof enough."""
    unknown = dataclasses.replace(EXPECTED, births={ME: b"\xb1" * 16})

    assert refusal(CALLER, unknown) == "node 2 is not a member: the configuration has nodes 1, 2"


@EXAMPLES
@given(
    handshake=st.builds(
        Handshake,
        cluster_id=st.binary(max_size=16),
        node_id=NODE_IDS,
        birth_id=st.binary(max_size=20),
        incarnation=st.integers(0, NUMBER_MAX),
        configuration_epoch=st.integers(0, NUMBER_MAX),
        log_sequence=st.integers(0, NUMBER_MAX),
        to_node_id=st.just(NodeId(0)) | NODE_IDS,
        lane=st.sampled_from(Lane),
        protocol_version=st.integers(0, 2**32 - 1),
    )
)
def test_a_handshake_survives_the_wire_and_is_always_judged(handshake: Handshake) -> None:
    """What is read is what was sent, and no caller brings the judgement down."""
    heard = handshake_from_wire(parse_frame(encode_frame((), handshake=handshake_to_wire(handshake))))

    assert heard == handshake
    assert refusal(heard, EXPECTED) is None or str(handshake.node_id) in str(refusal(heard, EXPECTED))


@pytest.mark.parametrize(
    ("wire", "said"),
    [
        (None, "a stream begins with a handshake, this one does not"),
        (pb.Handshake(node_id=2), "node 2 asks for lane 0, which does not exist"),
        (pb.Handshake(lane=pb.LANE_BULK), "a handshake from node 0, which is nobody"),
        (pb.Handshake(node_id=2, lane=pb.LANE_BULK, incarnation=2**63), f"node 2 has incarnation {2**63}, above"),
        (pb.Handshake(node_id=2, lane=pb.LANE_BULK, log_sequence=2**64 - 1), f"log_sequence {2**64 - 1}, above"),
        (pb.Handshake(node_id=2, lane=pb.LANE_BULK, configuration_epoch=2**63), f"configuration_epoch {2**63}, above"),
    ],
)
def test_a_handshake_that_no_node_sends_is_malformed(wire: pb.Handshake | None, said: str) -> None:
    """Nobody, no lane, or numbers that the disk which must remember them cannot hold."""
    with pytest.raises(MalformedMessage, match=said):
        handshake_from_wire(pb.Frame(handshake=wire))


def test_an_unknown_lane_is_malformed() -> None:
    """A lane of a later version is not mistaken for one of ours."""
    raw = pb.Handshake(node_id=2).SerializeToString() + bytes([pb.Handshake.LANE_FIELD_NUMBER << 3, 7])

    with pytest.raises(MalformedMessage, match="node 2 asks for lane 7"):
        handshake_from_wire(pb.Frame(handshake=pb.Handshake.FromString(raw)))
