"""What can go wrong, as callers need to tell it apart.

    KvError
        Unavailable             nobody could take the request; a write was certainly not done
            NoLeader            the cluster has no leader at the moment
        DeadlineExceeded        a read was not answered in time
        UnknownOutcome          a write was sent and nobody can say whether it was done
            SessionExpired      the session that would have told is not known any more
        Refused                 the server said no and changed nothing
            InvalidArgument, NotFound, AlreadyExists, FailedPrecondition, ResourceExhausted,
            PermissionDenied, Unauthenticated, Unsupported
            OutOfRange
                Compacted       the revision is no longer kept
                FutureRevision  the revision does not exist yet
        ServerFailed            a read failed in a way that has no name above, at every endpoint
        ClientClosed            the client was closed before the call, or during a read

So for a write: ``UnknownOutcome`` leaves a doubt, everything else means that it was not done. No exception of grpc or
protobuf leaves this package. Arguments of a wrong type or shape raise Python's own TypeError and ValueError.
"""

import enum

__all__ = [
    "AlreadyExists",
    "ClientClosed",
    "Code",
    "Compacted",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FutureRevision",
    "InvalidArgument",
    "KvError",
    "NoLeader",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "Refused",
    "ResourceExhausted",
    "ServerFailed",
    "SessionExpired",
    "Unauthenticated",
    "Unavailable",
    "UnknownOutcome",
    "Unsupported",
]


class Code(enum.Enum):
    """gRPC's status codes, numbered from 1: what came over the wire, or what the library here made of its absence."""

    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    INVALID_ARGUMENT = "invalid argument"
    DEADLINE_EXCEEDED = "deadline exceeded"
    NOT_FOUND = "not found"
    ALREADY_EXISTS = "already exists"
    PERMISSION_DENIED = "permission denied"
    RESOURCE_EXHAUSTED = "resource exhausted"
    FAILED_PRECONDITION = "failed precondition"
    ABORTED = "aborted"
    OUT_OF_RANGE = "out of range"
    UNIMPLEMENTED = "unimplemented"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    DATA_LOSS = "data loss"
    UNAUTHENTICATED = "unauthenticated"


class KvError(Exception):
    """Base of all. ``text`` is exactly what the server, or the local library, said; ``endpoint`` is who was asked."""

    def __init__(self, *, code: Code, text: str, endpoint: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.endpoint = endpoint

    def __str__(self) -> str:
        return f"{self.endpoint}: {self.text or self.code.value}"

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (type(self), self.code, self.text, self.endpoint)


def _restore(kind: type[KvError], code: Code, text: str, endpoint: str) -> KvError:
    """Keyword-only constructors need this to cross process boundaries (pickle, multiprocessing)."""
    return kind(code=code, text=text, endpoint=endpoint)


class Unavailable(KvError):
    """Until the deadline nobody could take the request. A write was certainly not done: it may be sent again."""


class NoLeader(Unavailable):
    """The server knows no leader; an election is going on, or most of the cluster is out of reach."""


class DeadlineExceeded(KvError):
    """A read was not answered in time. (A write that was not answered in time is an ``UnknownOutcome``.)"""


class UnknownOutcome(KvError):
    """The write was sent, and no answer tells whether it was, or will be, done.

    Where a session tells copies apart, the client has sent it as often as there was time for; elsewhere, once. Read
    before deciding, or make the write one that may be done
    twice: a put of the same value, a compare-and-swap.
    """

    def __str__(self) -> str:
        return f"{self.endpoint}: whether the write was done is unknown: {self.text or self.code.value}"


class SessionExpired(UnknownOutcome):
    """The write was sent more than once, and the servers have forgotten the session that told its copies apart."""


class Refused(KvError):
    """The server said no, and nothing was changed. The same request will be refused again."""


class InvalidArgument(Refused):
    """The request is malformed: an empty key, a key put twice in one transaction, too large a value."""


class NotFound(Refused):
    """A lease or a member that the request names does not exist. (An absent key is no error.)"""


class AlreadyExists(Refused):
    """What the request would create is there already."""


class FailedPrecondition(Refused):
    """The server is not in the state that the request needs."""


class OutOfRange(Refused):
    """A revision outside of what the store keeps."""


class Compacted(OutOfRange):
    """The revision asked for has been compacted away."""


class FutureRevision(OutOfRange):
    """The revision asked for does not exist yet."""


class ResourceExhausted(Refused):
    """The server is at one of its limits: too many requests, no space."""


class PermissionDenied(Refused):
    """This user may not do that."""


class Unauthenticated(Refused):
    """The server does not know who asks."""


class Unsupported(Refused):
    """The server does not offer this call."""


class ServerFailed(KvError):
    """A read failed inside the server, or its answer could not be understood."""


class ClientClosed(KvError):
    """The client was closed before the call, or during a read. (A write under way then is an ``UnknownOutcome``.)"""

    def __init__(
        self, *, code: Code = Code.CANCELLED, text: str = "the client is closed", endpoint: str = "kvclient"
    ) -> None:
        super().__init__(code=code, text=text, endpoint=endpoint)
