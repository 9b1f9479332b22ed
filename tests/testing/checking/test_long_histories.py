"""Long histories: the linear checker is quick, and a single wrong answer among many is found."""

import time
from dataclasses import replace
from random import Random

import pytest

from kvstore.testing.checking import (
    Delete,
    History,
    KeyValue,
    Operation,
    Put,
    Range,
    Response,
    Rule,
    Unknown,
    check,
)
from tests.testing.checking.making import make_history


@pytest.fixture(scope="module")
def made():
    return make_history(Random(1), 100_000, clients=64, keys=50, unknown=0.02)


@pytest.mark.parametrize("with_logs", [False, True], ids=["answers", "logs"])
def test_a_hundred_thousand_operations_take_seconds(made, with_logs):
    """Of CPU time, with generous room for a slow machine; two thousand of them unknown."""
    began = time.process_time()
    verdict = check(made.history, made.logs if with_logs else None)
    took = time.process_time() - began

    assert verdict.ok, str(verdict)
    assert took < 25


def test_one_stale_read_among_many_is_found():
    """With unknown writes around it, a read of the replaced value is a violation, not an open question."""
    made = make_history(Random(2), 10_000, clients=16, keys=20, unknown=0.02, sessions=True)
    operations = list(made.history.operations)
    index, read = next(
        (index, one)
        for index, one in enumerate(operations)
        if isinstance(one.action, Range) and not one.action.range_end and one.outcome.entries and one.invoked_at > 300
    )
    older = replace(read.outcome, revision=read.outcome.revision - 200)
    operations[index] = replace(read, outcome=older)

    for verdict in (check(History(operations)), check(History(operations), made.logs)):
        assert verdict.undecided is None
        assert read.invoked_at in [one.invoked_at for found in verdict.violations for one in found.operations]


def test_many_unknown_writes_are_placed():
    """Writes that were overwritten unseen have no witness; each revision still finds a write that fits."""
    operations = []
    for number in range(300):
        at = 10.0 * number
        key = b"k%d" % (number % 7)
        operations += [
            Operation("a", at, None, Put(key, b"lost %d" % number), Unknown()),
            Operation("b", at, None, Put(key, b"never %d" % number), Unknown()),
            Operation("c", at + 2, at + 3, Put(key, b"kept %d" % number), Response(2 * number + 3)),
        ]

    assert check(History(operations)).ok


def test_an_unknown_deletion_is_found_by_what_is_missing():
    """Nothing names a deletion but the absence of what it deleted, seen long after."""
    held = tuple(KeyValue(b"k%d" % number, b"v", 1, 1, 1) for number in range(8))
    operations = [Operation("a", 0, None, Delete(entry.key), Unknown()) for entry in held]
    operations += [
        Operation("b", 1, 2, Put(b"x", b"1"), Response(3)),
        Operation("b", 3, 4, Put(b"x", b"2"), Response(5)),
        Operation("c", 5, 6, Range(b"k3"), Response(5, (), 0)),
        Operation("c", 7, 8, Range(b"k", b"l"), Response(5, tuple(e for e in held if e.key not in (b"k3", b"k6")), 6)),
    ]

    assert check(History(operations, 1, held)).ok


def test_where_too_many_choices_are_left_it_says_so():
    """The limit of the search is a verdict of its own: neither accepted nor called wrong."""
    count = 30
    operations = [Operation("a", 0, None, Put(b"k%02d" % number, b"v"), Unknown()) for number in range(count)]
    operations += [
        Operation("b", 1, 2, Put(b"x", b"1"), Response(count // 2 + 2)),
        Operation("c", 3, 4, Range(b"k", b"l"), Response(count // 2 + 2, None, count // 2 + 1)),
    ]

    verdict = check(History(operations))

    assert not verdict.ok
    assert verdict.violations == ()
    assert verdict.undecided is not None
    assert verdict.undecided.rule is Rule.RESPONSE
    assert "undecided" in str(verdict)
