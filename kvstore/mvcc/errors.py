"""What the store refuses, in etcd's words.

etcd's Go client, etcdctl and others compare these texts byte for byte, so they are constants here and nowhere else. The
codes are our own: the adapter to the wire maps them to gRPC's. A ``Refused`` request changed nothing.

``UnknownCommand``, ``StateFormatError``, ``StateFull`` and ``StateFailed`` are no answers to a client: they tell the
owner of the store that it cannot go on.
"""

import enum
import sqlite3

__all__ = [
    "AnswerForgotten",
    "Code",
    "Compacted",
    "DuplicateKey",
    "FutureRevision",
    "InvalidCompare",
    "InvalidSortOption",
    "KeyNotFound",
    "KeyNotProvided",
    "LeaseNotFound",
    "LeaseProvided",
    "Refused",
    "RequestTooLarge",
    "SequenceInvalid",
    "SessionExpired",
    "StateFailed",
    "StateFormatError",
    "StateFull",
    "StateUnusable",
    "TooManyOperations",
    "UnknownCommand",
    "ValueProvided",
    "unusable",
]


class Code(enum.Enum):
    """Why, as far as a client's retry logic cares. Named as gRPC names them; the numbers are not gRPC's."""

    INVALID_ARGUMENT = enum.auto()
    NOT_FOUND = enum.auto()
    FAILED_PRECONDITION = enum.auto()
    OUT_OF_RANGE = enum.auto()
    RESOURCE_EXHAUSTED = enum.auto()
    UNAVAILABLE = enum.auto()
    INTERNAL = enum.auto()


class Refused(Exception):
    """Base of every refusal. ``code`` and ``text`` are what the client sees."""

    code: Code = Code.INVALID_ARGUMENT
    text: str

    def __init__(self) -> None:
        super().__init__(self.text)


class KeyNotProvided(Refused):
    text = "etcdserver: key is not provided"


class ValueProvided(Refused):
    """A put with ``ignore_value`` that carries a value."""

    text = "etcdserver: value is provided"


class LeaseProvided(Refused):
    """A put with ``ignore_lease`` that carries a lease."""

    text = "etcdserver: lease is provided"


class KeyNotFound(Refused):
    """``ignore_value`` or ``ignore_lease`` on an absent key; also, as in etcd, an empty operation in a transaction."""

    text = "etcdserver: key not found"


class LeaseNotFound(Refused):
    code = Code.NOT_FOUND
    text = "etcdserver: requested lease not found"


class DuplicateKey(Refused):
    text = "etcdserver: duplicate key given in txn request"


class TooManyOperations(Refused):
    text = "etcdserver: too many operations in txn request"


class RequestTooLarge(Refused):
    text = "etcdserver: request is too large"


class InvalidSortOption(Refused):
    text = "etcdserver: invalid sort option"


class InvalidCompare(Refused):
    """A compare with a target or a result that this version does not know. etcd has no text for it: it answers yes."""

    text = "etcdserver: invalid compare option"


class FutureRevision(Refused):
    code = Code.OUT_OF_RANGE
    text = "etcdserver: mvcc: required revision is a future revision"

    def __init__(self, *, required: int, current: int) -> None:
        super().__init__()
        self.required = required
        self.current = current


class Compacted(Refused):
    """``first_revision`` is the oldest one that can still be read."""

    code = Code.OUT_OF_RANGE
    text = "etcdserver: mvcc: required revision has been compacted"

    def __init__(self, *, required: int, first_revision: int) -> None:
        super().__init__()
        self.required = required
        self.first_revision = first_revision


class SessionExpired(Refused):
    """The session is unknown here. What it asked before may have been applied: its fate is unknown (L12)."""

    code = Code.FAILED_PRECONDITION

    def __init__(self, session: int) -> None:
        self.text = f"kvstore: session {session} is unknown or has expired; the fate of its requests is unknown"
        super().__init__()
        self.session = session


class AnswerForgotten(Refused):
    """The answer, if there was one, is below what the session keeps: the fate of the request is unknown (L12)."""

    code = Code.FAILED_PRECONDITION

    def __init__(self, *, session: int, sequence: int, floor: int) -> None:
        self.text = (
            f"kvstore: session {session} keeps no answers up to sequence {floor}; "
            f"the fate of its request {sequence} is unknown"
        )
        super().__init__()
        self.session = session
        self.sequence = sequence
        self.floor = floor


class SequenceInvalid(Refused):
    """A session's requests are numbered from 1, within what SQLite can store."""

    def __init__(self, *, session: int, sequence: int) -> None:
        self.text = f"kvstore: session {session} sent sequence {sequence}; sequences go from 1 to 2^63-1"
        super().__init__()


class UnknownCommand(Exception):
    """An entry of a kind that this version does not know was decided. To skip it would be to diverge (L5): stop."""


class StateUnusable(Exception):
    """Base of what is wrong with the database itself."""


class StateFormatError(StateUnusable):
    """The file is not a state of a format that this version reads, or was made under other limits."""


class StateFull(StateUnusable):
    """No room on the disk: roll back; the same turn may succeed later."""


class StateFailed(StateUnusable):
    """Any other failure of the database: the process must stop."""


def unusable(error: sqlite3.Error) -> StateUnusable:
    """The database's error in our words; callers raise it ``from error``."""
    code = getattr(error, "sqlite_errorcode", None)
    full = code is not None and code & 0xFF == sqlite3.SQLITE_FULL
    return StateFull(str(error)) if full else StateFailed(f"{getattr(error, 'sqlite_errorname', 'SQLite')}: {error}")
