"""What applying one entry yields: a reply or a refusal.

Replies to the API's requests are the API's own messages, with ``header.revision`` set and the rest of the header left
to the API. A refusal is a value, not an exception: it was decided and applied like any other command, and a session
hands it out again (L12).
"""

from dataclasses import dataclass

from kvproto.etcd.rpc_pb2 import DeleteRangeResponse, PutResponse, TxnResponse

from kvstore.mvcc.errors import Code, Refused

__all__ = ["MemberPublished", "Refusal", "Reply", "Result", "SessionOpened", "SessionsExpired"]


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """``session`` is the id with which later entries name the session."""

    session: int


@dataclass(frozen=True, slots=True)
class SessionsExpired:
    """``count`` sessions were unused for too long."""

    count: int


@dataclass(frozen=True, slots=True)
class MemberPublished:
    """The member's name and addresses are part of the state now."""

    node_id: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The command changed nothing. ``text`` is for the client, byte for byte."""

    code: Code
    text: str

    @classmethod
    def of(cls, refused: Refused) -> "Refusal":
        return cls(refused.code, refused.text)


Reply = PutResponse | DeleteRangeResponse | TxnResponse | SessionOpened | SessionsExpired | MemberPublished
Result = Reply | Refusal
