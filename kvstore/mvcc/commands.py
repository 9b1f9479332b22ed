"""One entry of a batch: was it answered before, what does it do, what is its answer.

A refusal changes nothing but the session that keeps it. An entry of an unknown kind comes from a newer version and
stops this replica, which could only diverge.
"""

from kvproto.command_pb2 import Entry
from kvproto.etcd.rpc_pb2 import (
    DeleteRangeRequest,
    DeleteRangeResponse,
    PutRequest,
    PutResponse,
    TxnRequest,
    TxnResponse,
)

from kvstore.mvcc.errors import Refused, UnknownCommand
from kvstore.mvcc.limits import Limits
from kvstore.mvcc.members import Members
from kvstore.mvcc.results import Refusal, Reply, Result
from kvstore.mvcc.revisions import Revisions
from kvstore.mvcc.sessions import Sessions
from kvstore.mvcc.txn import check_put_state, execute_delete_range, execute_put, execute_txn
from kvstore.mvcc.validate import check_delete_range, check_put, check_txn

__all__ = ["Commands"]


class Commands:
    """Dispatches entries to the parts of the state that they change."""

    def __init__(self, revisions: Revisions, members: Members, sessions: Sessions, limits: Limits) -> None:
        self._revisions = revisions
        self._members = members
        self._sessions = sessions
        self._limits = limits

    def apply(self, slot: int, entry: Entry) -> Result:
        """Applies one decided entry."""
        session = entry.session
        if not session:
            return self._once(slot, entry)
        sequence = entry.sequence
        try:
            answer = self._sessions.recall(session, sequence, slot, entry.unanswered_from)
        except Refused as refused:
            return Refusal.of(refused)  # not kept: it is no answer, it says that there is none
        if answer is None:
            answer = self._once(slot, entry)
            self._sessions.remember(session, sequence, answer)
        return answer

    def _once(self, slot: int, entry: Entry) -> Result:
        try:
            return self._dispatch(slot, entry)
        except Refused as refused:
            return Refusal.of(refused)

    def _dispatch(self, slot: int, entry: Entry) -> Reply:
        match entry.WhichOneof("command"):
            case "put":
                return self._put(entry.put)
            case "delete_range":
                return self._delete_range(entry.delete_range)
            case "txn":
                return self._txn(entry.txn)
            case "publish_member":
                return self._members.publish(entry.publish_member)
            case "open_session":
                return self._sessions.open(slot)
            case "expire_sessions":
                return self._sessions.expire(entry.expire_sessions.unused_since_slot)
            case unknown:
                raise UnknownCommand(f"slot {slot} has an entry of a kind that this version does not know: {unknown}")

    def _put(self, request: PutRequest) -> PutResponse:
        check_put(request)
        check_put_state(self._revisions, request)
        response = PutResponse()
        execute_put(self._revisions, request, response)
        self._revisions.end_write()
        return response

    def _delete_range(self, request: DeleteRangeRequest) -> DeleteRangeResponse:
        check_delete_range(request)
        response = DeleteRangeResponse()
        execute_delete_range(self._revisions, request, response)
        self._revisions.end_write()
        return response

    def _txn(self, request: TxnRequest) -> TxnResponse:
        check_txn(request, self._limits)
        response = execute_txn(self._revisions, request)
        self._revisions.end_write()
        return response
