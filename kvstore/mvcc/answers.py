"""How an answer is kept in the answers table, and how much it weighs."""

from kvproto.etcd.rpc_pb2 import DeleteRangeResponse, KeyValue, PutResponse, ResponseOp, TxnResponse

from kvstore.mvcc.errors import Code
from kvstore.mvcc.results import MemberPublished, Refusal, Result, SessionOpened, SessionsExpired

__all__ = ["decode_answer", "encode_answer", "weight"]

_KEY_VALUE_WEIGHT = 32
"""For the integers of a KeyValue."""


def weight(result: Result) -> int:
    """The bytes of keys and values in an answer; 0 for what every put brings.

    It decides what a session forgets, so it is computed from the logical content, never from a serialized size (L8).
    """
    match result:
        case PutResponse():
            return _weight_of(result.prev_kv) if result.HasField("prev_kv") else 0
        case DeleteRangeResponse():
            return sum(_weight_of(kv) for kv in result.prev_kvs)
        case TxnResponse():
            return sum(_operation_weight(operation) for operation in result.responses)
        case _:
            return 0


def _operation_weight(operation: ResponseOp) -> int:
    match operation.WhichOneof("response"):
        case "response_range":
            return sum(_weight_of(kv) for kv in operation.response_range.kvs) + _KEY_VALUE_WEIGHT
        case "response_put":
            return weight(operation.response_put) + _KEY_VALUE_WEIGHT
        case "response_delete_range":
            return weight(operation.response_delete_range) + _KEY_VALUE_WEIGHT
        case "response_txn":
            return weight(operation.response_txn) + _KEY_VALUE_WEIGHT
        case other:
            raise AssertionError(f"a transaction answered an operation with {other}")


def _weight_of(kv: KeyValue) -> int:
    return len(kv.key) + len(kv.value) + _KEY_VALUE_WEIGHT


def encode_answer(result: Result) -> tuple[str, int, bytes]:
    """(kind, number, body). The number alone is enough for a plain put, the commonest answer by far."""
    match result:
        case PutResponse():
            body = result.SerializeToString(deterministic=True) if result.HasField("prev_kv") else b""
            return "put", result.header.revision, body
        case DeleteRangeResponse():
            return "delete_range", result.header.revision, result.SerializeToString(deterministic=True)
        case TxnResponse():
            return "txn", result.header.revision, result.SerializeToString(deterministic=True)
        case SessionOpened():
            return "session_opened", result.session, b""
        case SessionsExpired():
            return "sessions_expired", result.count, b""
        case MemberPublished():
            return "member_published", result.node_id, b""
        case Refusal():
            return f"refused {result.code.name}", 0, result.text.encode()


def decode_answer(kind: str, number: int, body: bytes) -> Result:
    """The result that ``encode_answer`` was given."""
    match kind.split():
        case ["put"]:
            put = PutResponse.FromString(body)
            put.header.revision = number
            return put
        case ["delete_range"]:
            return DeleteRangeResponse.FromString(body)
        case ["txn"]:
            return TxnResponse.FromString(body)
        case ["session_opened"]:
            return SessionOpened(number)
        case ["sessions_expired"]:
            return SessionsExpired(number)
        case ["member_published"]:
            return MemberPublished(number)
        case ["refused", code]:
            return Refusal(Code[code], body.decode())
        case _:
            raise AssertionError(f"the answers table holds an answer of kind {kind!r}")
