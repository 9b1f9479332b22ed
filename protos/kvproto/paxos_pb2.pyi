from kvproto import command_pb2 as _command_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Lane(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LANE_UNSPECIFIED: _ClassVar[Lane]
    LANE_PROTOCOL: _ClassVar[Lane]
    LANE_BULK: _ClassVar[Lane]
LANE_UNSPECIFIED: Lane
LANE_PROTOCOL: Lane
LANE_BULK: Lane

class Ballot(_message.Message):
    __slots__ = ("round", "node_id")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    round: int
    node_id: int
    def __init__(self, round: _Optional[int] = ..., node_id: _Optional[int] = ...) -> None: ...

class Noop(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Configuration(_message.Message):
    __slots__ = ("epoch", "voters", "learners", "addresses", "lease_ms")
    class AddressesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: str
        def __init__(self, key: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    voters: _containers.RepeatedScalarFieldContainer[int]
    learners: _containers.RepeatedScalarFieldContainer[int]
    addresses: _containers.ScalarMap[int, str]
    lease_ms: int
    def __init__(self, epoch: _Optional[int] = ..., voters: _Optional[_Iterable[int]] = ..., learners: _Optional[_Iterable[int]] = ..., addresses: _Optional[_Mapping[int, str]] = ..., lease_ms: _Optional[int] = ...) -> None: ...

class Value(_message.Message):
    __slots__ = ("noop", "application", "configuration")
    NOOP_FIELD_NUMBER: _ClassVar[int]
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    noop: Noop
    application: bytes
    configuration: Configuration
    def __init__(self, noop: _Optional[_Union[Noop, _Mapping]] = ..., application: _Optional[bytes] = ..., configuration: _Optional[_Union[Configuration, _Mapping]] = ...) -> None: ...

class AcceptedValue(_message.Message):
    __slots__ = ("slot", "ballot", "value")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    BALLOT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    slot: int
    ballot: Ballot
    value: Value
    def __init__(self, slot: _Optional[int] = ..., ballot: _Optional[_Union[Ballot, _Mapping]] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...

class Suspect(_message.Message):
    __slots__ = ("suspicion",)
    SUSPICION_FIELD_NUMBER: _ClassVar[int]
    suspicion: int
    def __init__(self, suspicion: _Optional[int] = ...) -> None: ...

class SuspectReply(_message.Message):
    __slots__ = ("suspicion", "hears_leader", "promised", "decided_end")
    SUSPICION_FIELD_NUMBER: _ClassVar[int]
    HEARS_LEADER_FIELD_NUMBER: _ClassVar[int]
    PROMISED_FIELD_NUMBER: _ClassVar[int]
    DECIDED_END_FIELD_NUMBER: _ClassVar[int]
    suspicion: int
    hears_leader: bool
    promised: Ballot
    decided_end: int
    def __init__(self, suspicion: _Optional[int] = ..., hears_leader: bool = ..., promised: _Optional[_Union[Ballot, _Mapping]] = ..., decided_end: _Optional[int] = ...) -> None: ...

class Prepare(_message.Message):
    __slots__ = ("ballot", "from_slot", "released")
    BALLOT_FIELD_NUMBER: _ClassVar[int]
    FROM_SLOT_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    ballot: Ballot
    from_slot: int
    released: Ballot
    def __init__(self, ballot: _Optional[_Union[Ballot, _Mapping]] = ..., from_slot: _Optional[int] = ..., released: _Optional[_Union[Ballot, _Mapping]] = ...) -> None: ...

class Promise(_message.Message):
    __slots__ = ("ballot", "from_slot", "accepted", "last_page", "next_slot", "decided_end", "first_slot")
    BALLOT_FIELD_NUMBER: _ClassVar[int]
    FROM_SLOT_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    LAST_PAGE_FIELD_NUMBER: _ClassVar[int]
    NEXT_SLOT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_END_FIELD_NUMBER: _ClassVar[int]
    FIRST_SLOT_FIELD_NUMBER: _ClassVar[int]
    ballot: Ballot
    from_slot: int
    accepted: _containers.RepeatedCompositeFieldContainer[AcceptedValue]
    last_page: bool
    next_slot: int
    decided_end: int
    first_slot: int
    def __init__(self, ballot: _Optional[_Union[Ballot, _Mapping]] = ..., from_slot: _Optional[int] = ..., accepted: _Optional[_Iterable[_Union[AcceptedValue, _Mapping]]] = ..., last_page: bool = ..., next_slot: _Optional[int] = ..., decided_end: _Optional[int] = ..., first_slot: _Optional[int] = ...) -> None: ...

class Accept(_message.Message):
    __slots__ = ("ballot", "slot", "value", "decided_end")
    BALLOT_FIELD_NUMBER: _ClassVar[int]
    SLOT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DECIDED_END_FIELD_NUMBER: _ClassVar[int]
    ballot: Ballot
    slot: int
    value: Value
    decided_end: int
    def __init__(self, ballot: _Optional[_Union[Ballot, _Mapping]] = ..., slot: _Optional[int] = ..., value: _Optional[_Union[Value, _Mapping]] = ..., decided_end: _Optional[int] = ...) -> None: ...

class Accepted(_message.Message):
    __slots__ = ("ballot", "start", "end")
    BALLOT_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    ballot: Ballot
    start: int
    end: int
    def __init__(self, ballot: _Optional[_Union[Ballot, _Mapping]] = ..., start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ("promised",)
    PROMISED_FIELD_NUMBER: _ClassVar[int]
    promised: Ballot
    def __init__(self, promised: _Optional[_Union[Ballot, _Mapping]] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("ballot", "decided_end", "read_round", "sent_at")
    BALLOT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_END_FIELD_NUMBER: _ClassVar[int]
    READ_ROUND_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    ballot: Ballot
    decided_end: int
    read_round: int
    sent_at: float
    def __init__(self, ballot: _Optional[_Union[Ballot, _Mapping]] = ..., decided_end: _Optional[int] = ..., read_round: _Optional[int] = ..., sent_at: _Optional[float] = ...) -> None: ...

class HeartbeatReply(_message.Message):
    __slots__ = ("ballot", "read_round", "sent_at", "decided_end", "lease_s")
    BALLOT_FIELD_NUMBER: _ClassVar[int]
    READ_ROUND_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_END_FIELD_NUMBER: _ClassVar[int]
    LEASE_S_FIELD_NUMBER: _ClassVar[int]
    ballot: Ballot
    read_round: int
    sent_at: float
    decided_end: int
    lease_s: float
    def __init__(self, ballot: _Optional[_Union[Ballot, _Mapping]] = ..., read_round: _Optional[int] = ..., sent_at: _Optional[float] = ..., decided_end: _Optional[int] = ..., lease_s: _Optional[float] = ...) -> None: ...

class CatchUp(_message.Message):
    __slots__ = ("from_slot",)
    FROM_SLOT_FIELD_NUMBER: _ClassVar[int]
    from_slot: int
    def __init__(self, from_slot: _Optional[int] = ...) -> None: ...

class DecidedValue(_message.Message):
    __slots__ = ("slot", "ballot", "value")
    SLOT_FIELD_NUMBER: _ClassVar[int]
    BALLOT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    slot: int
    ballot: Ballot
    value: Value
    def __init__(self, slot: _Optional[int] = ..., ballot: _Optional[_Union[Ballot, _Mapping]] = ..., value: _Optional[_Union[Value, _Mapping]] = ...) -> None: ...

class Decided(_message.Message):
    __slots__ = ("values", "decided_end")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    DECIDED_END_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[DecidedValue]
    decided_end: int
    def __init__(self, values: _Optional[_Iterable[_Union[DecidedValue, _Mapping]]] = ..., decided_end: _Optional[int] = ...) -> None: ...

class SnapshotOffer(_message.Message):
    __slots__ = ("first_slot", "decided_end")
    FIRST_SLOT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_END_FIELD_NUMBER: _ClassVar[int]
    first_slot: int
    decided_end: int
    def __init__(self, first_slot: _Optional[int] = ..., decided_end: _Optional[int] = ...) -> None: ...

class Transfer(_message.Message):
    __slots__ = ("ballot",)
    BALLOT_FIELD_NUMBER: _ClassVar[int]
    ballot: Ballot
    def __init__(self, ballot: _Optional[_Union[Ballot, _Mapping]] = ...) -> None: ...

class Forward(_message.Message):
    __slots__ = ("number", "batch")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    number: int
    batch: _command_pb2.CommandBatch
    def __init__(self, number: _Optional[int] = ..., batch: _Optional[_Union[_command_pb2.CommandBatch, _Mapping]] = ...) -> None: ...

class ForwardReply(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class ReadIndex(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: int
    def __init__(self, request: _Optional[int] = ...) -> None: ...

class ReadIndexReply(_message.Message):
    __slots__ = ("request", "confirmed", "index")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    request: int
    confirmed: bool
    index: int
    def __init__(self, request: _Optional[int] = ..., confirmed: bool = ..., index: _Optional[int] = ...) -> None: ...

class PeerMessage(_message.Message):
    __slots__ = ("suspect", "suspect_reply", "prepare", "promise", "accept", "accepted", "nack", "heartbeat", "heartbeat_reply", "catch_up", "decided", "snapshot_offer", "transfer", "forward", "forward_reply", "read_index", "read_index_reply")
    SUSPECT_FIELD_NUMBER: _ClassVar[int]
    SUSPECT_REPLY_FIELD_NUMBER: _ClassVar[int]
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    PROMISE_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_REPLY_FIELD_NUMBER: _ClassVar[int]
    CATCH_UP_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_OFFER_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    FORWARD_FIELD_NUMBER: _ClassVar[int]
    FORWARD_REPLY_FIELD_NUMBER: _ClassVar[int]
    READ_INDEX_FIELD_NUMBER: _ClassVar[int]
    READ_INDEX_REPLY_FIELD_NUMBER: _ClassVar[int]
    suspect: Suspect
    suspect_reply: SuspectReply
    prepare: Prepare
    promise: Promise
    accept: Accept
    accepted: Accepted
    nack: Nack
    heartbeat: Heartbeat
    heartbeat_reply: HeartbeatReply
    catch_up: CatchUp
    decided: Decided
    snapshot_offer: SnapshotOffer
    transfer: Transfer
    forward: Forward
    forward_reply: ForwardReply
    read_index: ReadIndex
    read_index_reply: ReadIndexReply
    def __init__(self, suspect: _Optional[_Union[Suspect, _Mapping]] = ..., suspect_reply: _Optional[_Union[SuspectReply, _Mapping]] = ..., prepare: _Optional[_Union[Prepare, _Mapping]] = ..., promise: _Optional[_Union[Promise, _Mapping]] = ..., accept: _Optional[_Union[Accept, _Mapping]] = ..., accepted: _Optional[_Union[Accepted, _Mapping]] = ..., nack: _Optional[_Union[Nack, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., heartbeat_reply: _Optional[_Union[HeartbeatReply, _Mapping]] = ..., catch_up: _Optional[_Union[CatchUp, _Mapping]] = ..., decided: _Optional[_Union[Decided, _Mapping]] = ..., snapshot_offer: _Optional[_Union[SnapshotOffer, _Mapping]] = ..., transfer: _Optional[_Union[Transfer, _Mapping]] = ..., forward: _Optional[_Union[Forward, _Mapping]] = ..., forward_reply: _Optional[_Union[ForwardReply, _Mapping]] = ..., read_index: _Optional[_Union[ReadIndex, _Mapping]] = ..., read_index_reply: _Optional[_Union[ReadIndexReply, _Mapping]] = ...) -> None: ...

class Handshake(_message.Message):
    __slots__ = ("protocol_version", "cluster_id", "node_id", "birth_id", "incarnation", "configuration_epoch", "log_sequence", "to_node_id", "lane")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    BIRTH_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_EPOCH_FIELD_NUMBER: _ClassVar[int]
    LOG_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TO_NODE_ID_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    cluster_id: bytes
    node_id: int
    birth_id: bytes
    incarnation: int
    configuration_epoch: int
    log_sequence: int
    to_node_id: int
    lane: Lane
    def __init__(self, protocol_version: _Optional[int] = ..., cluster_id: _Optional[bytes] = ..., node_id: _Optional[int] = ..., birth_id: _Optional[bytes] = ..., incarnation: _Optional[int] = ..., configuration_epoch: _Optional[int] = ..., log_sequence: _Optional[int] = ..., to_node_id: _Optional[int] = ..., lane: _Optional[_Union[Lane, str]] = ...) -> None: ...

class HandshakeReply(_message.Message):
    __slots__ = ("accepted", "reason", "node_id", "incarnation")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    accepted: bool
    reason: str
    node_id: int
    incarnation: int
    def __init__(self, accepted: bool = ..., reason: _Optional[str] = ..., node_id: _Optional[int] = ..., incarnation: _Optional[int] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("handshake", "messages")
    HANDSHAKE_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    handshake: Handshake
    messages: _containers.RepeatedCompositeFieldContainer[PeerMessage]
    def __init__(self, handshake: _Optional[_Union[Handshake, _Mapping]] = ..., messages: _Optional[_Iterable[_Union[PeerMessage, _Mapping]]] = ...) -> None: ...

class Birth(_message.Message):
    __slots__ = ("node_id", "birth_id")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    BIRTH_ID_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    birth_id: bytes
    def __init__(self, node_id: _Optional[int] = ..., birth_id: _Optional[bytes] = ...) -> None: ...

class HelloRequest(_message.Message):
    __slots__ = ("protocol_version", "node_id", "birth_id", "known", "peers")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    BIRTH_ID_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    node_id: int
    birth_id: bytes
    known: _containers.RepeatedCompositeFieldContainer[Birth]
    peers: str
    def __init__(self, protocol_version: _Optional[int] = ..., node_id: _Optional[int] = ..., birth_id: _Optional[bytes] = ..., known: _Optional[_Iterable[_Union[Birth, _Mapping]]] = ..., peers: _Optional[str] = ...) -> None: ...

class HelloReply(_message.Message):
    __slots__ = ("node_id", "birth_id", "known", "cluster_id", "peers", "refusal")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    BIRTH_ID_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    birth_id: bytes
    known: _containers.RepeatedCompositeFieldContainer[Birth]
    cluster_id: bytes
    peers: str
    refusal: str
    def __init__(self, node_id: _Optional[int] = ..., birth_id: _Optional[bytes] = ..., known: _Optional[_Iterable[_Union[Birth, _Mapping]]] = ..., cluster_id: _Optional[bytes] = ..., peers: _Optional[str] = ..., refusal: _Optional[str] = ...) -> None: ...
