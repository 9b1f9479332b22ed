"""Histories in files: what is written is read again, and what is not of the documented form is refused by line."""

import io
import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvstore.testing.checking import (
    CompareAndSwap,
    Failed,
    History,
    HistoryInvalid,
    HistoryWriter,
    KeyValue,
    Operation,
    Put,
    Range,
    Recorder,
    Response,
    Unknown,
    check,
    prefix_end,
    read_history,
    read_operations,
    write_history,
)
from tests.testing.checking.making import make_history

HEADER = '{"format": "kvstore-history", "version": 1, "revision": 1, "entries": []}'


def written(history: History) -> str:
    file = io.StringIO()
    write_history(history, file)
    return file.getvalue()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), sessions=st.booleans())
def test_a_history_survives_its_file(seed, sessions):
    """Every kind of operation and outcome reads back equal."""
    history = make_history(Random(seed), 40, unknown=0.2, failed=0.2, sessions=sessions).history

    assert read_history(io.StringIO(written(history))) == history


@given(key=st.binary(min_size=1), value=st.binary(), expected=st.binary())
def test_all_bytes_survive(key, value, expected):
    """NUL, 0xFF, line ends and what is no UTF-8 included; the file stays ASCII, a line an operation."""
    entry = KeyValue(key, value, 2, 3, 2)
    operations = [
        Operation("a", 0.1, 0.2, Put(key, value), Response(2, ())),
        Operation("a", 0.3, 1 / 3, CompareAndSwap(key, "value", expected, None), Response(3, (entry,), None, True)),
        Operation("é", 0.5, None, Range(key, value, 3), Unknown("\n")),
    ]
    text = written(History(operations, 7, (entry,)))

    assert text.isascii()
    assert text.count("\n") == 4
    assert read_history(io.StringIO(text)) == History(operations, 7, (entry,))


def test_the_documented_line_is_what_is_written():
    """The form is read by others too, so it is fixed here, field by field."""
    file = io.StringIO()
    writer = HistoryWriter(file)
    action = CompareAndSwap(b"k\xff", "mod_revision", 4, None)
    writer.write(Operation("a", 0.5, 0.75, action, Response(5, None, None, True), session=3, sequence=9))
    writer.write(Operation("b", 0.5, None, Range(b"k", b"l"), Unknown("killed")))
    writer.write(Operation("c", 1, 2, Put(b"k", b"v"), Failed("not the leader")))
    header, *lines = file.getvalue().splitlines()

    assert header == HEADER
    assert [json.loads(line) for line in lines] == [
        {"client": "a", "invoked_at": 0.5, "returned_at": 0.75, "session": 3, "sequence": 9, "op": "cas",
         "key": "k\u00ff", "compare": "mod_revision", "expected": 4, "value": None,
         "outcome": "ok", "revision": 5, "succeeded": True},
        {"client": "b", "invoked_at": 0.5, "returned_at": None, "op": "range", "key": "k", "range_end": "l",
         "outcome": "unknown", "reason": "killed"},
        {"client": "c", "invoked_at": 1, "returned_at": 2, "op": "put", "key": "k", "value": "v",
         "outcome": "failed", "reason": "not the leader"},
    ]  # fmt: skip


def test_what_may_be_absent_may_be_absent():
    """A range_end, a limit, a reason and an empty line."""
    lines = [
        HEADER,
        '{"client": "a", "invoked_at": 0, "returned_at": 1, "op": "range", "key": "k", "outcome": "ok", "revision": 1}',
        "",
        '{"client": "a", "invoked_at": 2, "returned_at": null, "op": "delete", "key": "k", "outcome": "unknown"}',
    ]

    first, second = read_operations(lines)

    assert first == Operation("a", 0, 1, Range(b"k"), Response(1))
    assert second.outcome == Unknown()


PUT = '{"client": "a", "invoked_at": 0, "returned_at": 1, "op": "put", "key": "k", "value": "v", "outcome": "ok", %s}'


@pytest.mark.parametrize(
    ("lines", "line", "reason"),
    [
        ([], 1, "names the format"),
        (['{"format": "other"}'], 1, "names the format"),
        (['{"format": "kvstore-history", "version": 2}'], 1, "version 2 is not known"),
        (['{"format": "kvstore-history", "version": 1}'], 1, "'revision' is missing"),
        ([HEADER, PUT % '"revision": 2', PUT[:40]], 3, "not JSON"),
        ([HEADER, "[]"], 2, "not an object"),
        ([HEADER, "{}"], 2, "'returned_at' is missing"),
        ([HEADER, PUT % '"x": 2'], 2, "'revision' is missing"),
        ([HEADER, (PUT % '"revision": 2').replace('"put"', '"pat"')], 2, "op 'pat' is not known"),
        ([HEADER, (PUT % '"revision": 2').replace('"ok"', '"good"')], 2, "outcome 'good' is not known"),
        ([HEADER, (PUT % '"revision": 2').replace('"k"', "7")], 2, "7 is not a string"),
        ([HEADER, (PUT % '"revision": 2').replace('"k"', '"\u20ac"')], 2, "latin-1"),
        ([HEADER, (PUT % '"revision": 2').replace("1,", "null,")], 2, "never returned has an unknown outcome"),
        ([HEADER, (PUT % '"revision": 2').replace("1,", "-1,")], 2, "cannot return at -1.0"),
        ([HEADER, (PUT % '"revision": 2, "session": 4')], 2, "come together"),
        ([HEADER, (PUT % '"revision": 2').replace('"put"', '"delete"')], 2, "how many entries it deleted"),
    ],
)
def test_what_is_not_of_the_form_is_refused(lines, line, reason):
    """With the line's number and what is wrong in it."""
    with pytest.raises(HistoryInvalid) as refused:
        read_history(lines)

    assert refused.value.line == line
    assert reason in refused.value.reason


def test_a_recorder_keeps_what_is_open_as_unknown():
    """An operation ends once; what has not ended may or may not have taken effect."""
    recorder = Recorder()
    first = recorder.invoked("a", Put(b"k", b"v"), at=0)
    recorder.invoked("b", Put(b"k", b"w"), at=0.5, session=1, sequence=1)
    recorder.returned(first, Response(3), at=1)
    history = recorder.history()

    assert history.operations == [
        Operation("a", 0, 1, Put(b"k", b"v"), Response(3)),
        Operation("b", 0.5, None, Put(b"k", b"w"), Unknown("open"), 1, 1),
    ]
    assert check(history).ok, "revision 2 is the open one's"
    with pytest.raises(KeyError):
        recorder.returned(first, Response(3), at=2)


@pytest.mark.parametrize(
    ("prefix", "end"), [(b"a", b"b"), (b"a\xff", b"b"), (b"a\xfe\xff\xff", b"a\xff"), (b"\xff", b"\0"), (b"", b"\0")]
)
def test_the_end_of_a_prefix(prefix, end):
    """As etcd's clients compute it."""
    assert prefix_end(prefix) == end
