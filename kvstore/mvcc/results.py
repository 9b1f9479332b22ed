"""What applying one entry yields: a reply or a refusal.

Replies to the API's requests are the API's own messages, with ``header.revision`` set and the rest of the header left
to the API. A refusal is a value, not an exception: it was decided and applied like any other command, and a session
hands it out again (L12).
"""

from dataclasses import dataclass

from kvproto.etcd.rpc_pb2 import DeleteRangeResponse, PutResponse, TxnResponse

from kvstore.mvcc.errors import AnswerForgotten, Code, Refused, SessionExpired

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
    session_expired: bool = False
    """The session is not known: this copy of the request was not applied, an earlier one may have been."""
    fate_unknown: bool = False
    """Whether an earlier copy of the request was applied cannot be told."""

    @classmethod
    def of(cls, refused: Refused) -> "Refusal":
        return cls(
            refused.code,
            refused.text,
            session_expired=isinstance(refused, SessionExpired),
            fate_unknown=isinstance(refused, AnswerForgotten),
        )


Reply = PutResponse | DeleteRangeResponse | TxnResponse | SessionOpened | SessionsExpired | MemberPublished
Result = Reply | Refusal
