from kvproto import command_pb2 as _command_pb2
from kvproto.etcd import rpc_pb2 as _rpc_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ClientBatch(_message.Message):
    __slots__ = ("open", "entries", "reads", "unanswered_from")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    READS_FIELD_NUMBER: _ClassVar[int]
    UNANSWERED_FROM_FIELD_NUMBER: _ClassVar[int]
    open: Open
    entries: _containers.RepeatedCompositeFieldContainer[_command_pb2.Entry]
    reads: _containers.RepeatedCompositeFieldContainer[Read]
    unanswered_from: int
    def __init__(self, open: _Optional[_Union[Open, _Mapping]] = ..., entries: _Optional[_Iterable[_Union[_command_pb2.Entry, _Mapping]]] = ..., reads: _Optional[_Iterable[_Union[Read, _Mapping]]] = ..., unanswered_from: _Optional[int] = ...) -> None: ...

class Open(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: int
    def __init__(self, session: _Optional[int] = ...) -> None: ...

class Read(_message.Message):
    __slots__ = ("number", "range", "txn")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    TXN_FIELD_NUMBER: _ClassVar[int]
    number: int
    range: _rpc_pb2.RangeRequest
    txn: _rpc_pb2.TxnRequest
    def __init__(self, number: _Optional[int] = ..., range: _Optional[_Union[_rpc_pb2.RangeRequest, _Mapping]] = ..., txn: _Optional[_Union[_rpc_pb2.TxnRequest, _Mapping]] = ...) -> None: ...

class ServerBatch(_message.Message):
    __slots__ = ("opened", "put_sequences", "put_revisions", "writes", "reads", "leader", "header")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    PUT_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    PUT_REVISIONS_FIELD_NUMBER: _ClassVar[int]
    WRITES_FIELD_NUMBER: _ClassVar[int]
    READS_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    opened: Opened
    put_sequences: _containers.RepeatedScalarFieldContainer[int]
    put_revisions: _containers.RepeatedScalarFieldContainer[int]
    writes: _containers.RepeatedCompositeFieldContainer[WriteAnswer]
    reads: _containers.RepeatedCompositeFieldContainer[ReadAnswer]
    leader: Leader
    header: _rpc_pb2.ResponseHeader
    def __init__(self, opened: _Optional[_Union[Opened, _Mapping]] = ..., put_sequences: _Optional[_Iterable[int]] = ..., put_revisions: _Optional[_Iterable[int]] = ..., writes: _Optional[_Iterable[_Union[WriteAnswer, _Mapping]]] = ..., reads: _Optional[_Iterable[_Union[ReadAnswer, _Mapping]]] = ..., leader: _Optional[_Union[Leader, _Mapping]] = ..., header: _Optional[_Union[_rpc_pb2.ResponseHeader, _Mapping]] = ...) -> None: ...

class Opened(_message.Message):
    __slots__ = ("session", "requests_max", "bytes_max")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_MAX_FIELD_NUMBER: _ClassVar[int]
    BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    session: int
    requests_max: int
    bytes_max: int
    def __init__(self, session: _Optional[int] = ..., requests_max: _Optional[int] = ..., bytes_max: _Optional[int] = ...) -> None: ...

class Leader(_message.Message):
    __slots__ = ("node_id", "client_urls", "is_this_node")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_URLS_FIELD_NUMBER: _ClassVar[int]
    IS_THIS_NODE_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    client_urls: _containers.RepeatedScalarFieldContainer[str]
    is_this_node: bool
    def __init__(self, node_id: _Optional[int] = ..., client_urls: _Optional[_Iterable[str]] = ..., is_this_node: bool = ...) -> None: ...

class WriteAnswer(_message.Message):
    __slots__ = ("sequence", "put", "delete_range", "txn", "refusal")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PUT_FIELD_NUMBER: _ClassVar[int]
    DELETE_RANGE_FIELD_NUMBER: _ClassVar[int]
    TXN_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    put: _rpc_pb2.PutResponse
    delete_range: _rpc_pb2.DeleteRangeResponse
    txn: _rpc_pb2.TxnResponse
    refusal: Refusal
    def __init__(self, sequence: _Optional[int] = ..., put: _Optional[_Union[_rpc_pb2.PutResponse, _Mapping]] = ..., delete_range: _Optional[_Union[_rpc_pb2.DeleteRangeResponse, _Mapping]] = ..., txn: _Optional[_Union[_rpc_pb2.TxnResponse, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ...) -> None: ...

class ReadAnswer(_message.Message):
    __slots__ = ("number", "range", "txn", "refusal")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    TXN_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    number: int
    range: _rpc_pb2.RangeResponse
    txn: _rpc_pb2.TxnResponse
    refusal: Refusal
    def __init__(self, number: _Optional[int] = ..., range: _Optional[_Union[_rpc_pb2.RangeResponse, _Mapping]] = ..., txn: _Optional[_Union[_rpc_pb2.TxnResponse, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("code", "text", "session_expired", "unknown")
    CODE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SESSION_EXPIRED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    code: int
    text: str
    session_expired: bool
    unknown: bool
    def __init__(self, code: _Optional[int] = ..., text: _Optional[str] = ..., session_expired: bool = ..., unknown: bool = ...) -> None: ...
