"""What a transaction is made of: comparisons, and what to do if they all hold or if one does not.

    client.txn().when(Compare.value("lock") == "free", Compare.mod("lock") < 17) \\
          .then(Put("lock", "mine")) \\
          .otherwise(Get("lock")) \\
          .commit()

Comparing says what is to be compared, later and by the server: ``Compare.value("k") == "v"`` is a ``Comparison``, not a
bool. The value of an absent key equals nothing, differs from nothing and precedes nothing; its version, revisions and
lease are 0.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

from kvclient.keys import Interval, Text, one, starting_with, to_bytes

__all__ = ["Compare", "Comparison", "Delete", "Get", "Operation", "Put", "TransactionParts"]

Target = Literal["VALUE", "VERSION", "CREATE", "MOD", "LEASE"]
Relation = Literal["EQUAL", "NOT_EQUAL", "GREATER", "LESS"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """``target`` of ``key`` stands in ``relation`` to ``operand``: bytes for VALUE, else a number."""

    key: bytes
    target: Target
    relation: Relation
    operand: bytes | int

    def __bool__(self) -> bool:
        raise TypeError(
            f"{self} is compared by the server: pass it to when(); `and`, `if`, `a < b < c` cannot work on it"
        )


class _ValueOf:
    """A key's value, waiting for what to compare it with."""

    __hash__ = None  # type: ignore[assignment]  # == has another meaning here

    def __init__(self, key: Text) -> None:
        self._key = to_bytes(key)

    def __eq__(self, value: Text) -> Comparison:  # type: ignore[override]  # says what to compare, see above
        return self._compare("EQUAL", value)

    def __ne__(self, value: Text) -> Comparison:  # type: ignore[override]
        return self._compare("NOT_EQUAL", value)

    def __gt__(self, value: Text) -> Comparison:
        return self._compare("GREATER", value)

    def __lt__(self, value: Text) -> Comparison:
        return self._compare("LESS", value)

    def _compare(self, relation: Relation, value: Text) -> Comparison:
        return Comparison(self._key, "VALUE", relation, to_bytes(value))


class _NumberOf:
    """A key's version, revision or lease, waiting for what to compare it with."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, key: Text, target: Target) -> None:
        self._key = to_bytes(key)
        self._target = target

    def __eq__(self, number: int) -> Comparison:  # type: ignore[override]
        return self._compare("EQUAL", number)

    def __ne__(self, number: int) -> Comparison:  # type: ignore[override]
        return self._compare("NOT_EQUAL", number)

    def __gt__(self, number: int) -> Comparison:
        return self._compare("GREATER", number)

    def __lt__(self, number: int) -> Comparison:
        return self._compare("LESS", number)

    def _compare(self, relation: Relation, number: int) -> Comparison:
        if not isinstance(number, int):
            raise TypeError(f"{self._target.lower()} is compared with a number, not with {number!r}")
        return Comparison(self._key, self._target, relation, number)


class Compare:
    """Where comparisons come from; each takes ``==``, ``!=``, ``>`` or ``<``."""

    @staticmethod
    def value(key: Text) -> _ValueOf:
        """The key's value; false for an absent key, whatever it is compared with."""
        return _ValueOf(key)

    @staticmethod
    def version(key: Text) -> _NumberOf:
        """How often the key was put since it was created; 0 if absent."""
        return _NumberOf(key, "VERSION")

    @staticmethod
    def create(key: Text) -> _NumberOf:
        """The revision that created the key; 0 if absent."""
        return _NumberOf(key, "CREATE")

    @staticmethod
    def mod(key: Text) -> _NumberOf:
        """The revision of the key's last put; 0 if absent."""
        return _NumberOf(key, "MOD")

    @staticmethod
    def lease(key: Text) -> _NumberOf:
        """The lease attached to the key; 0 if none."""
        return _NumberOf(key, "LEASE")

    @staticmethod
    def exists(key: Text) -> Comparison:
        """The key is there."""
        return Compare.version(key) > 0

    @staticmethod
    def absent(key: Text) -> Comparison:
        """The key is not there."""
        return Compare.version(key) == 0


@dataclass(frozen=True, slots=True)
class Put:
    """Put one key. Answered by a ``PutResult``."""

    key: Text
    value: Text


@dataclass(frozen=True, slots=True)
class Get:
    """Read a key, or with ``prefix`` all keys that begin with it. Answered by a ``RangeResult``."""

    key: Text
    prefix: bool = False

    @property
    def interval(self) -> Interval:
        return starting_with(self.key) if self.prefix else one(self.key)


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a key, or with ``prefix`` all keys that begin with it. Answered by a ``DeleteResult``."""

    key: Text
    prefix: bool = False

    @property
    def interval(self) -> Interval:
        return starting_with(self.key) if self.prefix else one(self.key)


Operation = Put | Get | Delete


class TransactionParts:
    """The pure half of a transaction; ``commit`` is the client's. Each method adds to what was there before."""

    def __init__(self) -> None:
        self.comparisons: list[Comparison] = []
        self.success: list[Operation] = []
        self.failure: list[Operation] = []

    def when(self, *comparisons: Comparison) -> Self:
        """All of these must hold; without any, the transaction succeeds."""
        for comparison in comparisons:
            if not isinstance(comparison, Comparison):
                raise TypeError(f"when() takes comparisons such as Compare.value('k') == 'v', not {comparison!r}")
        self.comparisons.extend(comparisons)
        return self

    def then(self, *operations: Operation) -> Self:
        """What to do if all comparisons hold: all of it, at one revision."""
        self.success.extend(_checked(operations))
        return self

    def otherwise(self, *operations: Operation) -> Self:
        """What to do if one comparison does not hold."""
        self.failure.extend(_checked(operations))
        return self


def _checked(operations: Iterable[Operation]) -> list[Operation]:
    checked = list(operations)
    for operation in checked:
        if not isinstance(operation, Put | Get | Delete):
            raise TypeError(f"a transaction is made of Put, Get and Delete, not of {operation!r}")
    return checked
