"""The text form of a transaction: what kv-client's ``txn`` reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kvclient import Compare, Delete, Get, Put
from kvclient.cli.txn_text import TxnTextError, parse_transaction


def parsed(text: bytes):
    parts = parse_transaction(text)
    return parts.comparisons, parts.success, parts.failure


def test_three_blocks():
    text = b'value("k") = "v"\nmod("k") > 3\n\nput k v\n\nget k\ndel k\n'
    assert parsed(text) == (
        [Compare.value("k") == "v", Compare.mod("k") > 3],
        [Put("k", "v")],
        [Get("k"), Delete("k")],
    )


def test_blocks_may_be_empty_and_those_at_the_end_left_out():
    assert parsed(b"") == ([], [], [])
    assert parsed(b"version(k) = 0") == ([Compare.absent("k")], [], [])
    assert parsed(b"\nput k v") == ([], [Put("k", "v")], [])
    assert parsed(b"\n\nget k") == ([], [], [Get("k")])
    assert parsed(b"\n\nget k\n\n\n\n") == ([], [], [Get("k")])


def test_comments_indentation_and_carriage_returns_mean_nothing():
    assert parsed(b"# take it\r\n  version(k) = 0\r\n\t\r\n  # then\r\n  put k v\r\n") == (
        [Compare.absent("k")],
        [Put("k", "v")],
        [],
    )


@pytest.mark.parametrize(
    ("line", "comparison"),
    [
        (b"value(k) = v", Compare.value("k") == "v"),
        (b"value(k)!=v", Compare.value("k") != "v"),
        (b"value ( k ) < 'a b'", Compare.value("k") < "a b"),
        (b'value("k)") > "("', Compare.value("k)") > "("),
        (b'value(k) = ""', Compare.value("k") == ""),
        (b"version(k) = 1", Compare.version("k") == 1),
        (b"create(k) != 2", Compare.create("k") != 2),
        (b'mod(k) < "3"', Compare.mod("k") < 3),
        (b"mod(k) > -9223372036854775807", Compare.mod("k") > -(2**63 - 1)),
        (b"lease(k) > 9223372036854775807", Compare.lease("k") > 2**63 - 1),
        (b"value(\xff) = \xfe", Compare.value(b"\xff") == b"\xfe"),
    ],
)
def test_comparisons(line, comparison):
    assert parsed(line) == ([comparison], [], [])


@pytest.mark.parametrize(
    ("line", "operation"),
    [
        (b"put k v", Put("k", "v")),
        (b'put \'a b\' "c \\" d"', Put("a b", 'c " d')),
        (b"put a\\ b ''", Put("a b", "")),
        (b"put k '#'", Put("k", "#")),
        (b"put k 'one\n\n# two'", Put("k", "one\n\n# two")),
        (b'put k "it\'s\n\\"\n"', Put("k", "it's\n\"\n")),
        (b"put k it\\'s", Put("k", "it's")),
        (b"get k", Get("k")),
        (b"get --prefix ''", Get("", prefix=True)),
        (b"del k", Delete("k")),
        (b"del --prefix k", Delete("k", prefix=True)),
    ],
)
def test_operations(line, operation):
    assert parsed(b"\n" + line + b"\n\nget after") == ([], [operation], [Get("after")])


def quoted(raw: bytes) -> bytes:
    return b"'" + raw.replace(b"'", b"'\"'\"'") + b"'"


@given(key=st.binary(min_size=1), value=st.binary())
def test_quoted_as_in_a_shell_any_bytes_pass(key, value):
    """Line breaks, NUL and what is no UTF-8 among them."""
    text = b"value(%b) = %b\n\nput %b %b\n" % (quoted(key), quoted(value), quoted(key), quoted(value))
    (comparison,), (put,), _ = parsed(text)
    assert comparison == (Compare.value(key) == value)
    assert (put.key.encode("utf-8", "surrogateescape"), put.value.encode("utf-8", "surrogateescape")) == (key, value)


@given(text=st.binary() | st.text("valueputgk()=<>!'\"\\ \n#-0123").map(str.encode))
def test_any_text_is_a_transaction_or_says_why_not(text):
    try:
        parse_transaction(text)
        said = "line 0"
    except TxnTextError as error:
        said = str(error)
    assert said.startswith("line ")
