"""Histories that a wrong store would leave behind. Each must be rejected, for the right reason, by both checkers.

A checker that accepts everything passes every test of a good store, so these are what makes it worth believing.
"""

import math

import pytest

from kvstore.testing.checking import (
    Command,
    CompareAndSwap,
    Delete,
    Failed,
    History,
    KeyValue,
    Opaque,
    Operation,
    Put,
    Range,
    Response,
    Rule,
    Unknown,
    check,
    search,
)

K, V, W = b"k", b"v", b"w"


def put(client, at, to, value, revision, *, key=K, **more):
    return Operation(client, at, to, Put(key, value), Response(revision), **more)


def get(client, at, to, revision, *entries, key=K, range_end=b"", count=None, limit=0):
    found = tuple(KeyValue(*entry) for entry in entries)
    answer = Response(revision, found, len(found) if count is None else count)
    return Operation(client, at, to, Range(key, range_end, limit), answer)


def delete(client, at, to, revision, count, *, key=K, range_end=b"", entries=None):
    return Operation(client, at, to, Delete(key, range_end), Response(revision, entries, count))


def cas(client, at, to, revision, succeeded, *, compare="version", expected=0, value=W, entries=None):
    action = CompareAndSwap(K, compare, expected, value)
    return Operation(client, at, to, action, Response(revision, entries, succeeded=succeeded))


def unknown(client, at, action, *, to=None, **more):
    return Operation(client, at, to, action, Unknown(), **more)


def failed(client, at, to, action, **more):
    return Operation(client, at, to, action, Failed(), **more)


BAD = {
    "a read returns what a completed write has replaced": (
        Rule.REAL_TIME,
        [put("a", 0, 1, V, 2), put("a", 2, 3, W, 3), get("b", 4, 5, 2, (K, V, 2, 2, 1))],
    ),
    "a read is current by its revision and stale by its value": (
        Rule.RESPONSE,
        [put("a", 0, 1, V, 2), put("a", 2, 3, W, 3), get("b", 4, 5, 3, (K, V, 2, 2, 1))],
    ),
    "an acknowledged write is gone": (Rule.RESPONSE, [put("a", 0, 1, V, 2), get("a", 2, 3, 2)]),
    "an acknowledged write and its revision are gone": (Rule.REAL_TIME, [put("a", 0, 1, V, 2), get("b", 2, 3, 1)]),
    "a lost write's revision is given to another": (
        Rule.UNIQUE_REVISION,
        [put("a", 0, 1, V, 2), put("b", 2, 3, W, 2), get("b", 4, 5, 2, (K, W, 2, 2, 1))],
    ),
    "two concurrent writes have one revision": (Rule.UNIQUE_REVISION, [put("a", 0, 3, V, 2), put("b", 1, 2, W, 2)]),
    "an acknowledged write took effect twice": (
        Rule.THIN_AIR,
        [put("a", 0, 1, V, 2), get("a", 2, 3, 3, (K, V, 2, 3, 2))],
    ),
    "an acknowledged write took effect again, beside an unknown one": (
        Rule.ONCE,
        [put("a", 0, 1, V, 2), unknown("b", 0, Put(b"x", W)), get("a", 2, 3, 3, (K, V, 2, 3, 2))],
    ),
    "an unknown write took effect twice": (
        Rule.ONCE,
        [
            unknown("a", 0, Put(K, V)),
            unknown("b", 0, Put(b"x", W)),
            get("c", 2, 3, 2, (K, V, 2, 2, 1)),
            get("c", 4, 5, 3, (K, V, 2, 3, 2)),
        ],
    ),
    "an unknown write returned after another write, a second time": (
        Rule.THIN_AIR,
        [
            unknown("a", 0, Put(K, V)),
            get("b", 1, 2, 2, (K, V, 2, 2, 1)),
            put("b", 3, 4, W, 3),
            get("b", 5, 6, 4, (K, V, 2, 4, 3)),
        ],
    ),
    "a value that nobody wrote": (Rule.THIN_AIR, [get("a", 0, 1, 2, (K, b"?", 2, 2, 1))]),
    "a value that nobody wrote, beside an unknown write": (
        Rule.THIN_AIR,
        [unknown("b", 0, Put(K, V)), get("a", 0, 1, 2, (K, b"?", 2, 2, 1))],
    ),
    "a value under another write's revision": (
        Rule.RESPONSE,
        [put("a", 0, 1, V, 2), get("a", 2, 3, 2, (K, W, 2, 2, 1))],
    ),
    "a revision that nobody wrote": (Rule.THIN_AIR, [put("a", 0, 1, V, 3)]),
    "the revision goes back between two reads of one client": (
        Rule.REAL_TIME,
        [put("a", 0, 9, V, 2), get("b", 1, 2, 2, (K, V, 2, 2, 1)), get("b", 3, 4, 1)],
    ),
    "one reader sees a write in flight, a later reader does not": (
        Rule.REAL_TIME,
        [put("a", 0, 9, V, 2), get("b", 1, 2, 2, (K, V, 2, 2, 1)), get("c", 3, 4, 1)],
    ),
    "a later write has the lower revision": (Rule.REAL_TIME, [put("a", 0, 1, V, 3), put("b", 2, 3, W, 2)]),
    "a read sees a write before it was invoked": (
        Rule.REAL_TIME,
        [get("a", 0, 1, 2, (K, V, 2, 2, 1)), put("b", 2, 3, V, 2)],
    ),
    "a read sees an unknown write before it was invoked": (
        Rule.REAL_TIME,
        [get("a", 0, 1, 2, (K, V, 2, 2, 1)), unknown("b", 2, Put(K, V))],
    ),
    "an unknown write fills a revision before it was invoked": (
        Rule.THIN_AIR,
        [put("a", 0, 1, V, 3), unknown("b", 2, Put(b"x", V))],
    ),
    "two compare-and-swaps win over one state": (
        Rule.RESPONSE,
        [cas("a", 0, 3, 2, True, value=V), cas("b", 1, 4, 3, True, value=W)],
    ),
    "a compare-and-swap wins with a revision that is no more": (
        Rule.RESPONSE,
        [
            put("a", 0, 1, V, 2),
            put("a", 2, 3, W, 3),
            cas("b", 4, 5, 4, True, compare="mod_revision", expected=2),
        ],
    ),
    "a compare-and-swap loses though it was right": (
        Rule.RESPONSE,
        [put("a", 0, 1, V, 2), cas("b", 2, 3, 2, False, compare="value", expected=V)],
    ),
    "a compare-and-swap that lost took effect": (
        Rule.THIN_AIR,
        [put("a", 0, 1, V, 2), cas("b", 2, 3, 2, False), get("b", 4, 5, 3, (K, W, 2, 3, 2))],
    ),
    "a deleted key is there again": (
        Rule.RESPONSE,
        [put("a", 0, 1, V, 2), delete("a", 2, 3, 3, 1), get("b", 4, 5, 3, (K, V, 2, 2, 1))],
    ),
    "a deleted key is there again in a range": (
        Rule.RESPONSE,
        [
            put("a", 0, 1, V, 2),
            put("a", 2, 3, V, 3, key=b"l"),
            delete("a", 4, 5, 4, 1),
            get("b", 6, 7, 4, (K, V, 2, 2, 1), (b"l", V, 3, 3, 1), range_end=b"\0"),
        ],
    ),
    "a deletion took two that was told of one": (
        Rule.RESPONSE,
        [
            put("a", 0, 1, V, 2),
            put("a", 2, 3, V, 3, key=b"l"),
            delete("a", 4, 5, 4, 1, range_end=b"z"),
        ],
    ),
    "a deletion of nothing says that it deleted": (Rule.RESPONSE, [delete("a", 0, 1, 2, 1)]),
    "a key was deleted by two": (
        Rule.RESPONSE,
        [put("a", 0, 1, V, 2), delete("a", 2, 5, 3, 1), delete("b", 3, 6, 4, 1)],
    ),
    "an unknown deletion took effect twice": (
        Rule.THIN_AIR,
        [
            put("a", 0, 1, V, 2),
            unknown("b", 0, Delete(K)),
            get("a", 2, 3, 3),
            put("a", 4, 5, W, 4),
            get("a", 6, 7, 5),
        ],
    ),
    "a definitely failed write is seen": (
        Rule.NEVER,
        [failed("a", 0, 1, Put(K, V)), get("b", 2, 3, 2, (K, V, 2, 2, 1))],
    ),
    "a definitely failed write is seen, beside an unknown one": (
        Rule.NEVER,
        [failed("a", 0, 1, Put(K, V)), unknown("c", 0, Put(b"x", V)), get("b", 2, 3, 2, (K, V, 2, 2, 1))],
    ),
    "a definitely failed deletion took effect": (
        Rule.NEVER,
        [put("a", 0, 1, V, 2), failed("a", 2, 3, Delete(K)), get("b", 4, 5, 3)],
    ),
    "a version is too high": (Rule.RESPONSE, [put("a", 0, 1, V, 2), get("b", 2, 3, 2, (K, V, 2, 2, 2))]),
    "a key created anew keeps its old creation": (
        Rule.RESPONSE,
        [
            put("a", 0, 1, V, 2),
            delete("a", 2, 3, 3, 1),
            put("a", 4, 5, W, 4),
            get("b", 6, 7, 4, (K, W, 2, 4, 1)),
        ],
    ),
    "an entry is newer than the state it was read from": (
        Rule.RESPONSE,
        [put("a", 0, 9, V, 2), get("b", 1, 2, 1, (K, V, 2, 2, 1))],
    ),
    "one revision is seen with two values": (
        Rule.RESPONSE,
        [
            unknown("a", 0, Put(K, V)),
            unknown("b", 0, Put(K, W)),
            get("c", 1, 2, 2, (K, V, 2, 2, 1)),
            get("c", 3, 4, 2, (K, W, 2, 2, 1)),
        ],
    ),
    "a range sees the second write and not the first": (
        Rule.RESPONSE,
        [
            put("a", 0, 1, V, 2),
            put("a", 2, 3, V, 3, key=b"l"),
            get("b", 2, 5, 3, (b"l", V, 3, 3, 1), range_end=b"z"),
        ],
    ),
    "a range counts what is not there": (
        Rule.RESPONSE,
        [put("a", 0, 1, V, 2), get("b", 2, 3, 2, (K, V, 2, 2, 1), range_end=b"z", count=2)],
    ),
    "a range returns more than its limit": (
        Rule.RESPONSE,
        [
            put("a", 0, 1, V, 2),
            put("a", 2, 3, V, 3, key=b"l"),
            get("b", 4, 5, 3, (K, V, 2, 2, 1), (b"l", V, 3, 3, 1), range_end=b"z", limit=1),
        ],
    ),
    "a write returns the wrong previous entry": (
        Rule.RESPONSE,
        [
            put("a", 0, 1, V, 2),
            delete("b", 2, 3, 3, 1, entries=(KeyValue(K, W, 2, 2, 1),)),
        ],
    ),
    "a retry was applied again": (
        Rule.SAME_ANSWER,
        [put("a", 0, 1, V, 2, session=1, sequence=1), put("a", 2, 3, V, 3, session=1, sequence=1)],
    ),
    "a retry after an unknown end was applied a second time": (
        Rule.THIN_AIR,
        [
            unknown("a", 0, Put(K, V), to=1, session=1, sequence=1),
            put("a", 2, 3, V, 3, session=1, sequence=1),
            get("b", 4, 5, 3, (K, V, 2, 3, 2)),
        ],
    ),
    "two requests under one sequence number": (
        Rule.SAME_ANSWER,
        [put("a", 0, 1, V, 2, session=1, sequence=1), put("a", 2, 3, W, 2, session=1, sequence=1)],
    ),
    "an unknown write comes after what had read it": (
        Rule.RESPONSE,
        [
            unknown("a", 0, Put(K, V)),
            put("b", 1, 2, W, 2),
            unknown("c", 0, Put(b"x", V)),
            cas("b", 3, 4, 4, True, compare="mod_revision", expected=2, value=b"z"),
            get("b", 5, 6, 4, (K, b"z", 2, 4, 3)),
        ],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_both_checkers_reject(name):
    """The linear checker names the rule, operations and two differing values; the search finds no order."""
    rule, operations = BAD[name]

    verdict = check(History(operations))

    assert not verdict.ok
    assert verdict.undecided is None
    first = verdict.violations[0]
    assert first.rule is rule, str(verdict)
    assert first.operations
    assert set(first.operations) <= set(operations)
    assert first.expected != first.actual
    assert f"expected {first.expected}" in str(verdict)
    assert search(History(operations)) is None


@pytest.mark.parametrize("name", BAD)
def test_nothing_is_wrong_without_answers(name):
    """A checker that rejects everything would pass above. Writes of which nobody was told anything are never wrong."""
    _, operations = BAD[name]
    writes = [
        Operation(one.client, one.invoked_at, None, one.action, Unknown())
        for one in operations
        if not isinstance(one.action, Range)
    ]

    assert check(History(writes)).ok
    assert search(History(writes)) is not None


def test_a_store_in_use_must_not_forget_what_it_held():
    """The entries that the history begins with count like written ones."""
    held = (KeyValue(K, V, 3, 5, 2),)
    good = History([get("a", 0, 1, 7, *held)], revision=7, entries=held)
    gone = History([get("a", 0, 1, 7)], revision=7, entries=held)
    changed = History([get("a", 0, 1, 7, (K, W, 3, 5, 2))], revision=7, entries=held)
    older = History([get("a", 0, 1, 6)], revision=7, entries=held)
    rewritten = History([put("a", 0, 1, W, 7)], revision=7, entries=held)

    assert check(good).ok
    assert search(good)
    for bad in (gone, changed, older, rewritten):
        assert [one.rule for one in check(bad).violations] == [Rule.RESPONSE]
        assert search(bad) is None


# With the decided logs

PUT, OTHER = Put(K, V), Put(b"x", W)
BAD_LOGS = {
    "replicas decided differently": (
        Rule.AGREEMENT,
        [put("a", 0, 1, V, 2)],
        {1: [(0, (Command(PUT),))], 2: [(0, (Command(OTHER),))]},
    ),
    "replicas decided the same commands in another order": (
        Rule.AGREEMENT,
        [put("a", 0, 1, V, 2), put("b", 0, 1, W, 3, key=b"x")],
        {1: [(0, (Command(PUT), Command(OTHER)))], 2: [(0, (Command(OTHER), Command(PUT)))]},
    ),
    "one replica decided a no-op, the other a write": (
        Rule.AGREEMENT,
        [put("a", 0, 1, V, 2)],
        {1: [(0, (Command(PUT),))], 2: [(0, (Command(Opaque(b"")),))]},
    ),
    "a restarted replica decided a slot again, differently": (
        Rule.AGREEMENT,
        [put("a", 0, 1, V, 2)],
        {1: [(0, (Command(PUT),)), (0, ())]},
    ),
    "a slot is missing everywhere": (
        Rule.LOG_WHOLE,
        [put("a", 0, 1, V, 2)],
        {1: [(0, (Command(PUT),)), (2, ())]},
    ),
    "an acknowledged write was never decided": (Rule.ACKNOWLEDGED, [put("a", 0, 1, V, 2)], {1: []}),
    "an acknowledged write of a session was never decided": (
        Rule.ACKNOWLEDGED,
        [put("a", 0, 1, V, 2, session=1, sequence=1)],
        {1: [(0, (Command(PUT, 1, 2),))]},
    ),
    "an acknowledged write was refused": (
        Rule.ACKNOWLEDGED,
        [put("a", 0, 1, V, 2, session=1, sequence=1)],
        {1: [(0, (Command(PUT, 1, 1, refused=True),))]},
    ),
    "another write was decided at the revision": (
        Rule.ACKNOWLEDGED,
        [put("a", 0, 1, V, 2), unknown("b", 0, OTHER)],
        {1: [(0, (Command(OTHER),))]},
    ),
    "an acknowledged write was decided twice": (
        Rule.ONCE,
        [put("a", 0, 1, V, 2)],
        {1: [(0, (Command(PUT),)), (1, (Command(PUT),))]},
    ),
    "an unknown write was decided twice": (
        Rule.ONCE,
        [unknown("a", 0, PUT)],
        {1: [(0, (Command(PUT),)), (1, (Command(PUT),))]},
    ),
    "a failed write was decided": (Rule.NEVER, [failed("a", 0, 1, PUT)], {1: [(0, (Command(PUT),))]}),
    "a failed write of a session was decided": (
        Rule.NEVER,
        [failed("a", 0, 1, PUT, session=1, sequence=1)],
        {1: [(0, (Command(PUT, 1, 1),))]},
    ),
    "a write that nobody asked for was decided": (Rule.THIN_AIR, [], {1: [(0, (Command(PUT),))]}),
    "another write was decided under the session's number": (
        Rule.THIN_AIR,
        [put("a", 0, 1, V, 2, session=1, sequence=1)],
        {1: [(0, (Command(OTHER, 1, 1),))]},
    ),
    "the retry of a session changed the state again": (
        Rule.RESPONSE,
        [put("a", 0, 1, V, 2, session=1, sequence=1), get("b", 2, 3, 3, (K, V, 2, 3, 2))],
        {1: [(0, (Command(PUT, 1, 1),)), (1, (Command(PUT, 1, 1),))]},
    ),
    "a read is not what the log says": (
        Rule.RESPONSE,
        [put("a", 0, 1, V, 2), get("b", 2, 3, 2)],
        {1: [(0, (Command(PUT),))]},
    ),
    "a read is ahead of the log": (
        Rule.RESPONSE,
        [put("a", 0, 1, V, 2), get("b", 2, 3, 5, (K, V, 2, 2, 1))],
        {1: [(0, (Command(PUT),))]},
    ),
    "a read is stale": (
        Rule.REAL_TIME,
        [put("a", 0, 1, V, 2), get("b", 2, 3, 1)],
        {1: [(0, (Command(PUT),))]},
    ),
    "an unknown write was decided before it was invoked": (
        Rule.REAL_TIME,
        [get("a", 0, 1, 2, (K, V, 2, 2, 1)), unknown("b", 2, PUT)],
        {1: [(0, (Command(PUT),))]},
    ),
    "a compare-and-swap that lost is answered as won": (
        Rule.RESPONSE,
        [
            put("a", 0, 1, V, 2),
            Operation("b", 2, 3, CompareAndSwap(K, "version", 0, W), Response(3, succeeded=True), 1, 1),
        ],
        {1: [(0, (Command(PUT),)), (1, (Command(CompareAndSwap(K, "version", 0, W), 1, 1),))]},
    ),
}


@pytest.mark.parametrize("name", BAD_LOGS)
def test_the_linear_checker_rejects_by_the_logs(name):
    """Logs show what answers alone cannot: what was decided though nobody saw it."""
    rule, operations, logs = BAD_LOGS[name]

    verdict = check(History(operations), logs)

    assert rule in [one.rule for one in verdict.violations], str(verdict)
    first = next(one for one in verdict.violations if one.rule is rule)
    assert first.expected != first.actual
    assert rule.value in str(verdict)


@pytest.mark.parametrize("name", BAD)
def test_no_log_can_excuse_a_bad_history(name):
    """A log made of the writes as they claim to have happened does not make any of the bad histories good."""
    _, operations = BAD[name]
    writes = [one for one in operations if not isinstance(one.action, Range) and not isinstance(one.outcome, Failed)]
    writes.sort(key=lambda one: one.outcome.revision if isinstance(one.outcome, Response) else math.inf)
    log = [(slot, (Command(one.action, one.session, one.sequence),)) for slot, one in enumerate(writes)]

    assert not check(History(operations), {1: log}).ok
