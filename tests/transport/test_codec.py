"""What the rooms inside say survives the wire unchanged; what no correct node says never gets inside."""

import contextlib
import typing

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st
from kvproto import paxos_pb2 as pb
from kvproto.command_pb2 import CommandBatch

from kvstore.paxos.messages import Accept, Heartbeat
from kvstore.paxos.types import Application, Ballot, Configuration, NodeId, Slot
from kvstore.transport.codec import (
    NUMBER_MAX,
    MalformedMessage,
    PeerMessage,
    decode,
    decode_messages,
    encode,
    encode_frame,
    parse_frame,
)
from tests.transport.messages import ADDRESSES, BATCHES, BY_TYPE, EXAMPLES, MESSAGES

BALLOT = {"round": 3, "nodeId": 1}
NOOP = {"noop": {}}


def entry(slot: int, **changes: object) -> dict[str, object]:
    return {"slot": slot, "ballot": BALLOT, "value": NOOP} | changes


@st.composite
def any_peer_messages(draw: st.DrawFn) -> pb.PeerMessage:
    """Any PeerMessage that the schema allows: numbers near every border, parts left out, lists in any order."""
    numbers = st.sampled_from([0, 1, 2, 3, NUMBER_MAX - 1, NUMBER_MAX, NUMBER_MAX + 1, 2**64 - 1])

    def fill(message: typing.Any) -> None:
        for field in message.DESCRIPTOR.fields:
            if field.containing_oneof is None and draw(st.integers(0, 3)) > 0:
                put(message, field)
        for oneof in message.DESCRIPTOR.oneofs:
            chosen = draw(st.sampled_from([None, *oneof.fields]))
            if chosen is not None:
                put(message, chosen)

    def put(message: typing.Any, field: typing.Any) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key in draw(st.lists(st.integers(0, 3), max_size=3)):
                getattr(message, field.name)[key] = draw(ADDRESSES)
        elif field.label == field.LABEL_REPEATED:
            for _ in range(draw(st.integers(0, 3))):
                if field.message_type is None:
                    getattr(message, field.name).append(draw(st.integers(0, 4)))
                else:
                    fill(getattr(message, field.name).add())
        elif field.message_type == CommandBatch.DESCRIPTOR:
            getattr(message, field.name).CopyFrom(draw(BATCHES))  # what it says is the state machine's to judge
        elif field.message_type is not None:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name))
        elif field.cpp_type == field.CPPTYPE_UINT64:
            setattr(message, field.name, draw(numbers))
        elif field.cpp_type == field.CPPTYPE_UINT32:
            setattr(message, field.name, draw(st.integers(0, 3)))
        elif field.cpp_type == field.CPPTYPE_DOUBLE:
            setattr(message, field.name, draw(st.floats()))
        elif field.cpp_type == field.CPPTYPE_BOOL:
            setattr(message, field.name, draw(st.booleans()))
        else:
            setattr(message, field.name, draw(st.binary(max_size=5)))

    wire = pb.PeerMessage()
    put(wire, draw(st.sampled_from(list(wire.DESCRIPTOR.fields))))
    return wire


def test_the_strategies_know_every_message() -> None:
    """A message that is added to the protocol is added to these tests."""
    assert set(BY_TYPE) == set(typing.get_args(PeerMessage))


@pytest.mark.parametrize("kind", BY_TYPE, ids=lambda kind: kind.__name__)
@EXAMPLES
@given(data=st.data())
def test_every_message_survives_the_wire(kind: type, data: st.DataObject) -> None:
    """Decoding gives back what was encoded, and encoding that again gives the same bytes."""
    message = data.draw(BY_TYPE[kind])

    raw = encode(message)

    assert decode(raw) == message
    assert encode(decode(raw)) == raw


@EXAMPLES
@given(messages=st.lists(MESSAGES, max_size=8), introduced=st.booleans())
def test_a_frame_keeps_its_messages_in_order(messages: list[PeerMessage], introduced: bool) -> None:
    """A frame put together from encoded messages is the frame that protobuf would have built."""
    handshake = pb.Handshake(node_id=7, log_sequence=9) if introduced else None

    raw = encode_frame(map(encode, messages), handshake=handshake)

    frame = parse_frame(raw)
    assert decode_messages(frame) == messages
    assert frame.HasField("handshake") == introduced
    assert frame.handshake == (handshake or pb.Handshake())
    whole = [pb.PeerMessage.FromString(encode(message)) for message in messages]
    assert frame == pb.Frame(handshake=handshake, messages=whole)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 300_000])
def test_messages_of_every_length_find_their_end(size: int) -> None:
    """The length prefix takes one to three bytes here; what follows the message is found again."""
    large = Accept(Ballot(1, NodeId(1)), Slot(0), Application(b"x" * size), Slot(0))
    small = Heartbeat(Ballot(1, NodeId(1)), Slot(0), 0, 0.0)

    assert decode_messages(parse_frame(encode_frame([encode(large), encode(small)]))) == [large, small]


@EXAMPLES
@given(raw=st.binary(max_size=300))
def test_noise_is_malformed_and_nothing_worse(raw: bytes) -> None:
    """Any bytes give messages or MalformedMessage, never another exception."""
    with contextlib.suppress(MalformedMessage):
        decode(raw)
    with contextlib.suppress(MalformedMessage):
        decode_messages(parse_frame(raw))


@EXAMPLES
@given(message=MESSAGES, data=st.data())
def test_a_damaged_message_is_malformed_or_another_message(message: PeerMessage, data: st.DataObject) -> None:
    """Cut, flipped or lengthened bytes give MalformedMessage or something that can be encoded again."""
    raw = bytearray(encode(message))
    position = data.draw(st.integers(0, max(0, len(raw) - 1)))
    match data.draw(st.sampled_from(["cut", "flip", "insert"])):
        case "cut":
            del raw[position:]
        case "flip" if raw:
            raw[position] ^= 1 << data.draw(st.integers(0, 7))
        case _:
            raw[position:position] = data.draw(st.binary(min_size=1, max_size=4))

    try:
        heard = decode(bytes(raw))
    except MalformedMessage:
        return

    assert decode(encode(heard)) == heard


@EXAMPLES
@given(wire=any_peer_messages())
def test_a_stranger_with_good_grammar_is_judged_by_the_rules(wire: pb.PeerMessage) -> None:
    """Any PeerMessage that the schema allows gives a message that can be encoded again, or MalformedMessage."""
    try:
        heard = decode(wire.SerializeToString())
    except MalformedMessage:
        return

    assert decode(encode(heard)) == heard


MALFORMED = {
    "no kind": ({}, "no known kind"),
    "no ballot": ({"prepare": {"fromSlot": 1}}, "Prepare without ballot"),
    "ballot zero": ({"prepare": {"ballot": {}}}, "at ballot 0.0, in which nobody proposes"),
    "a ballot of nobody": ({"prepare": {"ballot": {"round": 3}}}, "no node can hold ballot 3.0"),
    "a ballot of no round": ({"nack": {"promised": {"nodeId": 3}}}, "no node can hold ballot 0.3"),
    "a round beyond the disk": ({"transfer": {"ballot": {"round": 2**63, "nodeId": 1}}}, f"round {2**63} exceeds"),
    "a suspicion without what is promised": ({"suspectReply": {"suspicion": 1}}, "SuspectReply without promised"),
    "a slot beyond the disk": ({"catchUp": {"fromSlot": 2**63}}, f"from_slot {2**63} exceeds {NUMBER_MAX}"),
    "a last slot that has no end": (
        {"accept": {"ballot": BALLOT, "slot": NUMBER_MAX, "value": NOOP}},
        f"slot {NUMBER_MAX} exceeds {NUMBER_MAX - 1}",
    ),
    "an accept of nothing": ({"accept": {"ballot": BALLOT, "slot": 4}}, "Accept in slot 4 without a value"),
    "an accept of an unknown kind": ({"accept": {"ballot": BALLOT, "slot": 4, "value": {}}}, "without a value"),
    "an empty run": ({"accepted": {"ballot": BALLOT, "start": 4, "end": 4}}, r"empty: \[4, 4\)"),
    "a run backwards": ({"accepted": {"ballot": BALLOT, "start": 5, "end": 4}}, r"empty: \[5, 4\)"),
    "a clock that is no number": ({"heartbeat": {"ballot": BALLOT, "sentAt": "NaN"}}, "sent_at is nan"),
    "an endless clock": ({"heartbeatReply": {"ballot": BALLOT, "sentAt": "-Infinity"}}, "sent_at is -inf"),
    "a hole in what is decided": (
        {"decided": {"values": [entry(3), entry(5)], "decidedEnd": 9}},
        "gap between .* 3 and 5",
    ),
    "a slot decided twice": ({"decided": {"values": [entry(3), entry(3)], "decidedEnd": 9}}, "gap between .* 3 and 3"),
    "more than is decided": (
        {"decided": {"values": [entry(3), entry(4)], "decidedEnd": 4}},
        "slot 4 is sent as decided",
    ),
    "a decided slot without ballot": (
        {"decided": {"values": [{"slot": 3, "value": NOOP}], "decidedEnd": 4}},
        "DecidedValue without ballot",
    ),
    "a page out of order": (
        {"promise": {"ballot": BALLOT, "accepted": [entry(5), entry(4)], "lastPage": True}},
        "slot 4 is out of order",
    ),
    "a page with a slot twice": (
        {"promise": {"ballot": BALLOT, "accepted": [entry(4), entry(4)], "lastPage": True}},
        "slot 4 is out of order",
    ),
    "a page that begins too early": (
        {"promise": {"ballot": BALLOT, "fromSlot": 6, "accepted": [entry(5)], "lastPage": True}},
        "slot 5 is out of order",
    ),
    "a page beyond its end": (
        {"promise": {"ballot": BALLOT, "accepted": [entry(7)], "nextSlot": 7}},
        r"slot 7 is out of order in the page \[0, 7\)",
    ),
    "a page that does not advance": (
        {"promise": {"ballot": BALLOT, "fromSlot": 6, "nextSlot": 6}},
        "goes on at slot 6",
    ),
    "a last page that goes on": (
        {"promise": {"ballot": BALLOT, "nextSlot": 6, "lastPage": True}},
        "a last page of a promise that goes on at slot 6",
    ),
    "an accepted value of nothing": (
        {"promise": {"ballot": BALLOT, "accepted": [{"slot": 4, "ballot": BALLOT}], "lastPage": True}},
        "AcceptedValue in slot 4 without a value",
    ),
    "an index beyond the disk": ({"readIndexReply": {"index": 2**63}}, f"index {2**63} exceeds"),
}


@pytest.mark.parametrize(("wire", "said"), MALFORMED.values(), ids=MALFORMED)
def test_what_no_correct_node_says_is_malformed(wire: dict[str, object], said: str) -> None:
    """Each rule of order, range and presence refuses by itself, and says which value broke it."""
    raw = ParseDict(wire, pb.PeerMessage()).SerializeToString()

    with pytest.raises(MalformedMessage, match=said):
        decode(raw)
    with pytest.raises(MalformedMessage, match=said):
        decode_messages(parse_frame(encode_frame([encode(Heartbeat(Ballot(1, NodeId(1)), Slot(0), 0, 0.0)), raw])))


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ({}, "voters must be some"),
        ({"voters": [2, 1]}, r"sorted and distinct: \(2, 1\)"),
        ({"voters": [1, 1]}, r"sorted and distinct: \(1, 1\)"),
        ({"voters": [0, 1]}, "node 0, which is nobody"),
        ({"voters": [1], "learners": [0]}, "node 0, which is nobody"),
        ({"voters": [1], "addresses": {"0": "a:1"}}, "node 0, which is nobody"),
        ({"voters": [1, 2], "learners": [2]}, "learners must be distinct and not vote"),
        ({"voters": [1], "learners": [2, 2]}, "learners must be distinct and not vote"),
        ({"voters": [1], "epoch": 2**63}, f"epoch {2**63} exceeds"),
    ],
)
def test_a_configuration_that_nobody_could_have_made_is_malformed(configuration: dict[str, object], said: str) -> None:
    """No strange peer can trip the assertions of ``Configuration`` or give node 0 a vote."""
    wire = {"accept": {"ballot": BALLOT, "value": {"configuration": configuration}}}
    raw = ParseDict(wire, pb.PeerMessage()).SerializeToString()

    with pytest.raises(MalformedMessage, match=said):
        decode(raw)


def test_addresses_come_in_the_order_of_their_nodes() -> None:
    """A map has no order on the wire; inside it has one, so that every node encodes a configuration alike (L8)."""
    one = Configuration(1, (NodeId(1), NodeId(2)), (), {NodeId(2): "b", NodeId(1): "a"})

    heard = decode(encode(Accept(Ballot(1, NodeId(1)), Slot(0), one, Slot(0))))

    assert isinstance(heard, Accept)
    assert isinstance(heard.value, Configuration)
    assert heard.value == one
    assert list(heard.value.addresses) == [1, 2]


@pytest.mark.parametrize("number", [-1, 2**64])
def test_a_number_that_its_field_cannot_hold_is_our_own_fault(number: int) -> None:
    """It is not sent cut to size: encoding raises ValueError."""
    with pytest.raises(ValueError, match="out of range"):
        encode(Heartbeat(Ballot(1, NodeId(1)), Slot(number), 0, 0.0))
