"""Every status, with every text that means something, for reads and for writes: its name, and who may try again."""

import copy
import pickle

import kvclient
import pytest
from kvclient import (
    AlreadyExists,
    ClientClosed,
    Code,
    Compacted,
    DeadlineExceeded,
    FailedPrecondition,
    FutureRevision,
    InvalidArgument,
    KvError,
    NoLeader,
    NotFound,
    OutOfRange,
    PermissionDenied,
    Refused,
    ResourceExhausted,
    ServerFailed,
    Unauthenticated,
    Unavailable,
    UnknownOutcome,
    Unsupported,
)
from kvclient.decisions import CLOSED_DURING_THE_CALL, Failure, SendAgain, decide

NEVER, ELSEWHERE, ANYWHERE = SendAgain.NEVER, SendAgain.ELSEWHERE, SendAgain.ANYWHERE
TEXT = "etcdserver: some text"

# code, text, then for a read and for a write: send again?, and the error
TABLE = [
    # no connection was there, so nothing was sent
    (
        Code.UNAVAILABLE,
        "failed to connect to all addresses; last error: ...",
        ANYWHERE,
        Unavailable,
        ANYWHERE,
        Unavailable,
    ),
    (Code.UNAVAILABLE, "DNS resolution failed for x", ANYWHERE, Unavailable, ANYWHERE, Unavailable),
    # the server's word that it did not propose it
    (Code.UNAVAILABLE, "etcdserver: no leader", ANYWHERE, NoLeader, ANYWHERE, NoLeader),
    (Code.UNAVAILABLE, "etcdserver: not proposed", ANYWHERE, Unavailable, ANYWHERE, Unavailable),
    (Code.UNAVAILABLE, "etcdserver: not proposed: why", ANYWHERE, Unavailable, ANYWHERE, Unavailable),
    # the same code, and no such word
    (Code.UNAVAILABLE, "etcdserver: request timed out", ANYWHERE, Unavailable, NEVER, UnknownOutcome),
    (Code.UNAVAILABLE, "etcdserver: leader changed", ANYWHERE, Unavailable, NEVER, UnknownOutcome),
    (Code.UNAVAILABLE, "Socket closed", ANYWHERE, Unavailable, NEVER, UnknownOutcome),
    (Code.UNAVAILABLE, "recvmsg:Connection reset by peer", ANYWHERE, Unavailable, NEVER, UnknownOutcome),
    (Code.UNAVAILABLE, "GOAWAY received", ANYWHERE, Unavailable, NEVER, UnknownOutcome),
    (Code.UNAVAILABLE, "it failed to connect to all addresses", ANYWHERE, Unavailable, NEVER, UnknownOutcome),
    (Code.UNAVAILABLE, "", ANYWHERE, Unavailable, NEVER, UnknownOutcome),
    (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", ANYWHERE, DeadlineExceeded, NEVER, UnknownOutcome),
    # the words under another code are somebody else's
    (Code.INTERNAL, "etcdserver: no leader", ELSEWHERE, ServerFailed, NEVER, UnknownOutcome),
    (Code.UNKNOWN, "failed to connect to all addresses", ELSEWHERE, ServerFailed, NEVER, UnknownOutcome),
    (Code.DEADLINE_EXCEEDED, "etcdserver: not proposed", ANYWHERE, DeadlineExceeded, NEVER, UnknownOutcome),
    # a refusal changed nothing and will be one again
    (Code.INVALID_ARGUMENT, TEXT, NEVER, InvalidArgument, NEVER, InvalidArgument),
    (Code.NOT_FOUND, TEXT, NEVER, NotFound, NEVER, NotFound),
    (Code.ALREADY_EXISTS, TEXT, NEVER, AlreadyExists, NEVER, AlreadyExists),
    (Code.FAILED_PRECONDITION, TEXT, NEVER, FailedPrecondition, NEVER, FailedPrecondition),
    (Code.OUT_OF_RANGE, TEXT, NEVER, OutOfRange, NEVER, OutOfRange),
    (Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", NEVER, Compacted, NEVER, Compacted),
    (
        Code.OUT_OF_RANGE,
        "etcdserver: mvcc: required revision is a future revision",
        NEVER,
        FutureRevision,
        NEVER,
        FutureRevision,
    ),
    (Code.PERMISSION_DENIED, TEXT, NEVER, PermissionDenied, NEVER, PermissionDenied),
    (Code.UNAUTHENTICATED, TEXT, NEVER, Unauthenticated, NEVER, Unauthenticated),
    (Code.UNIMPLEMENTED, "", NEVER, Unsupported, NEVER, Unsupported),
    (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", NEVER, ResourceExhausted, NEVER, ResourceExhausted),
    (
        Code.RESOURCE_EXHAUSTED,
        "SERVER: Received message larger than max (3000000 vs. 2097152)",
        NEVER,
        ResourceExhausted,
        NEVER,
        ResourceExhausted,
    ),
    # the library's own, for a stream that the peer reset
    (Code.RESOURCE_EXHAUSTED, "Received RST_STREAM with error code 11", ELSEWHERE, ServerFailed, NEVER, UnknownOutcome),
    (Code.PERMISSION_DENIED, "Received RST_STREAM with error code 12", ELSEWHERE, ServerFailed, NEVER, UnknownOutcome),
    # a fault, of one server perhaps
    (Code.INTERNAL, TEXT, ELSEWHERE, ServerFailed, NEVER, UnknownOutcome),
    (Code.UNKNOWN, TEXT, ELSEWHERE, ServerFailed, NEVER, UnknownOutcome),
    (Code.ABORTED, TEXT, ELSEWHERE, ServerFailed, NEVER, UnknownOutcome),
    (Code.DATA_LOSS, TEXT, ELSEWHERE, ServerFailed, NEVER, UnknownOutcome),
    (Code.CANCELLED, TEXT, ELSEWHERE, ServerFailed, NEVER, UnknownOutcome),
    # nobody's fault
    (Code.CANCELLED, CLOSED_DURING_THE_CALL, NEVER, ClientClosed, NEVER, UnknownOutcome),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0].value}: {row[1]}")
def test_what_a_failure_means(row):
    code, text, read_again, read_error, write_again, write_error = row
    for is_read, again, kind in ((True, read_again, read_error), (False, write_again, write_error)):
        decision = decide(Failure(code, text, "host:1"), is_read=is_read)
        assert decision.send_again is again
        assert type(decision.error) is kind
        assert (decision.error.code, decision.error.text, decision.error.endpoint) == (code, text, "host:1")
        refused = isinstance(decision.error, Refused | ClientClosed) or (text == CLOSED_DURING_THE_CALL and is_read)
        assert decision.avoid is not refused


def test_the_table_leaves_out_no_code():
    assert {row[0] for row in TABLE} == set(Code)


def test_a_write_is_sent_again_only_where_the_error_says_that_it_was_not_done():
    """Over every code and text, crossed: an error that admits a doubt comes with NEVER."""
    for code in Code:
        for text in {row[1] for row in TABLE}:
            decision = decide(Failure(code, text, "host:1"), is_read=False)
            assert not (isinstance(decision.error, UnknownOutcome) and decision.send_again is not NEVER), (code, text)
            assert not isinstance(decision.error, ServerFailed | DeadlineExceeded | ClientClosed), (code, text)


KINDS = [
    kind for kind in map(vars(kvclient).get, kvclient.__all__) if isinstance(kind, type) and issubclass(kind, KvError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_survives_pickle_and_copy(kind):
    """So it may cross to another process, with all that it says."""
    error = kind(code=Code.UNAVAILABLE, text="why", endpoint="host:1")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is kind
        assert (other.code, other.text, other.endpoint, str(other)) == (error.code, "why", "host:1", str(error))
    assert str(error).startswith("host:1: ")
    assert "why" in str(error)


def test_an_error_without_a_text_says_its_code():
    assert str(Unsupported(code=Code.UNIMPLEMENTED, text="", endpoint="host:1")) == "host:1: unimplemented"
    assert str(ClientClosed()) == "kvclient: the client is closed"
