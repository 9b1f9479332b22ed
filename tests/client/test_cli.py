"""``kv-client``: every command, every option, every way to print."""

import base64
import json

import pytest
from kvproto.command_pb2 import Entry, PublishMember

from tests.client.cli import one_line

EVERY_BYTE = bytes(range(1, 256))


def fill(kv, *keys: str) -> None:
    for key in keys:
        kv.ok("put", key, f"value of {key}")


# --- put, get --------------------------------------------------------------------------------------------------------


def test_put_prints_ok_and_get_the_value_and_a_newline(kv):
    assert kv.ok("put", "greeting", "hello") == b"OK\n"
    assert kv.ok("get", "greeting") == b"hello\n"
    assert kv.ok("put", "empty", "") == b"OK\n"
    assert kv.ok("get", "empty") == b"\n"


def test_a_dash_reads_the_value_from_standard_input(kv):
    value = b"\0" + EVERY_BYTE + b"\r\n\n"
    assert kv.ok("put", "photo", "-", stdin=value) == b"OK\n"
    assert kv.ok("get", "photo") == value + b"\n"
    kv.ok("put", "nothing", "-", stdin=b"")
    assert kv.ok("get", "nothing") == b"\n"
    kv.ok("put", "dash", "-", stdin=b"-")
    assert kv.ok("get", "dash") == b"-\n"


def test_what_begins_with_a_dash_goes_after_two(kv):
    kv.ok("put", "--", "-k", "--value")
    assert kv.ok("get", "--", "-k") == b"--value\n"


def test_an_absent_key_is_exit_code_1_and_a_line_on_stderr(kv):
    done = kv("get", "nobody")
    assert (done.code, done.out, one_line(done.err)) == (1, b"", "nobody is absent")
    done = kv("get", "--keys-only", "nobody")
    assert (done.code, done.out, one_line(done.err)) == (1, b"", "nobody is absent")
    done = kv("get", "caf\udce9\n\x1b[31m☃")
    assert one_line(done.err) == r"caf\xe9\n\x1b[31m☃ is absent"


def test_get_prefix_prints_keys_and_values_in_turn(kv):
    fill(kv, "user/2", "user/1", "users")
    assert kv.ok("get", "--prefix", "user/") == b"user/1\nvalue of user/1\nuser/2\nvalue of user/2\n"
    assert kv.ok("get", "--prefix", "") == kv.ok("get", "--prefix", "user")
    assert kv.ok("get", "--prefix", "nobody") == b"", "nothing is a set of keys too"


def test_get_limit_keys_only_and_rev(kv):
    fill(kv, "a/1", "a/2", "a/3")
    kv.ok("put", "a/1", "later")
    assert kv.ok("get", "--prefix", "a/", "--keys-only") == b"a/1\na/2\na/3\n"
    assert kv.ok("get", "--prefix", "a/", "--keys-only", "--limit", "2") == b"a/1\na/2\n"
    assert kv.ok("get", "--prefix", "a/", "--keys-only", "--limit", "0") == b"a/1\na/2\na/3\n"
    assert kv.ok("get", "--prefix", "a/", "--keys-only", "--rev", "3") == b"a/1\na/2\n"
    assert kv.ok("get", "a/1", "--rev", "2") == b"value of a/1\n"
    assert kv.ok("get", "a/1") == b"later\n"
    assert kv.ok("get", "a/1", "--keys-only") == b"a/1\n"


def test_get_serializable_asks_nobody_else(kv, server):
    fill(kv, "a")
    server.hold_back()
    assert kv.ok("get", "a", "--serializable") == b"value of a\n"
    assert kv("--timeout", "0.1", "get", "a").code == 3


def test_get_json_and_table(kv):
    kv.ok("put", "caf\udce9", "x\ny")
    kv.ok("put", "caf\udce9", "x\ny")
    assert json.loads(kv.ok("-o", "json", "get", "caf\udce9")) == {
        "header": {"revision": 3},
        "kvs": [
            {
                "key": base64.b64encode(b"caf\xe9").decode(),
                "value": base64.b64encode(b"x\ny").decode(),
                "create_revision": 2,
                "mod_revision": 3,
                "version": 2,
                "lease": 0,
            }
        ],
        "more": False,
        "count": 1,
    }
    heading, row = cells(kv.ok("-o", "table", "get", "caf\udce9"))
    assert heading == ["key", "value", "version", "created", "modified", "lease"]
    assert row == [r"caf\xe9", r"x\ny", "2", "2", "3", "0"]
    done = kv("-o", "json", "get", "nobody")
    assert (done.code, json.loads(done.out)["kvs"]) == (1, [])


def cells(table: bytes) -> list[list[str]]:
    """The words of a table, row by row."""
    lines = [line for line in table.decode().splitlines() if line[0] in "│┃|"]
    return [[cell.strip() for cell in line.replace("┃", "│").replace("|", "│").strip("│").split("│")] for line in lines]


# --- del, cas --------------------------------------------------------------------------------------------------------


def test_del_prints_the_count(kv):
    fill(kv, "a", "b/1", "b/2", "c")
    assert kv.ok("del", "a") == b"1\n"
    assert kv.ok("del", "a") == b"0\n"
    assert kv.ok("del", "--prefix", "b/") == b"2\n"
    assert json.loads(kv.ok("-o", "json", "del", "c")) == {"header": {"revision": 8}, "deleted": 1}
    assert kv.ok("get", "--prefix", "") == b""


def test_cas_swaps_or_says_what_is_there(kv):
    kv.ok("put", "leader", "alice")
    assert kv.ok("cas", "leader", "alice", "bob") == b"OK\n"
    done = kv("cas", "leader", "alice", "carol")
    assert (done.code, done.out, one_line(done.err)) == (1, b"", "leader is bob")
    assert kv.ok("get", "leader") == b"bob\n"
    done = kv("cas", "nobody", "", "x")
    assert (done.code, done.out, one_line(done.err)) == (1, b"", "nobody is absent")


def test_cas_absent(kv):
    assert kv.ok("cas", "--absent", "leader", "alice") == b"OK\n"
    done = kv("cas", "--absent", "leader", "bob")
    assert (done.code, one_line(done.err)) == (1, "leader is alice")
    document = json.loads(kv.ok("-o", "json", "cas", "leader", "alice", "bob"))
    assert (document["succeeded"], document["responses"]) == (True, [{"response_put": {"header": {"revision": 3}}}])
    assert json.loads(kv("-o", "json", "cas", "leader", "alice", "bob").out)["succeeded"] is False


def test_cas_shows_no_whole_photo(kv):
    kv.ok("put", "photo", "-", stdin=b"\xff" * 100_000)
    err = one_line(kv("cas", "photo", "old", "new").err)
    assert err == "photo is " + r"\xff" * 200 + "... (100000 bytes)"


# --- txn -------------------------------------------------------------------------------------------------------------

LOCK = b"""\
# take the lock if nobody has it
version("lock") = 0

put lock "me and you"
get lock

get lock
del --prefix temporary/
"""


def test_txn_from_standard_input(kv):
    assert kv.ok("txn", stdin=LOCK) == b"SUCCESS\nOK\nlock\nme and you\n"
    assert kv.ok("txn", "-", stdin=LOCK) == b"FAILURE\nlock\nme and you\n0\n"


def test_txn_from_a_file(kv, tmp_path):
    path = tmp_path / "lock.txn"
    path.write_bytes(LOCK)
    assert kv.ok("txn", str(path)) == b"SUCCESS\nOK\nlock\nme and you\n"


def test_txn_json_and_table(kv):
    fill(kv, "a")
    document = json.loads(kv.ok("-o", "json", "txn", stdin=b"\nget a\ndel a\n"))
    assert document["succeeded"] is True
    read, deleted = document["responses"]
    assert read["response_range"]["kvs"][0]["key"] == base64.b64encode(b"a").decode()
    assert deleted == {"response_delete_range": {"header": {"revision": 3}, "deleted": 1}}
    fill(kv, "b")
    printed = kv.ok("-o", "table", "txn", stdin=b"\nget b\n")
    assert printed.startswith(b"SUCCESS\n")
    assert cells(printed)[1][:2] == ["b", "value of b"]


# --- status, members -------------------------------------------------------------------------------------------------


def test_status_is_a_table(kv, server):
    fill(kv, "a")
    heading, row = cells(kv.ok("status"))
    assert heading == ["endpoint", "id", "leader", "ballot", "decided", "applied", "size", "version"]
    assert row[:6] == [server.endpoint, "1", "1", "7", "1", "1"]
    assert row[6].endswith(" KiB")
    assert row[7] == "3.4.0"


def test_status_plain_and_json(kv, server):
    plain = kv.ok("-o", "plain", "status").decode()
    assert plain.count("\n") == 1
    endpoint, member_id, leader, ballot, decided, applied, size, version = plain.rstrip("\n").split("\t")
    assert [endpoint, member_id, leader, ballot, decided, applied, version] == [server.endpoint, *"1170", "0", "3.4.0"]
    assert int(size) > 0
    (document,) = json.loads(kv.ok("-o", "json", "status"))
    assert document == {
        "endpoint": server.endpoint,
        "id": 1,
        "leader": 1,
        "ballot": 7,
        "decided": 0,
        "applied": 0,
        "size": int(size),
        "version": "3.4.0",
        "revision": 1,
        "learner": False,
    }


def test_status_without_a_leader_says_none(kv, server):
    server.replica.leads = False
    assert cells(kv.ok("status"))[1][2] == "none"


def test_members(kv, server):
    member = PublishMember(node_id=1, name="one", client_urls=["http://127.0.0.1:2379"])
    server.loop.call(lambda: server.replica.apply(Entry(publish_member=member)))
    row = ["1", "one", "http://127.0.0.1:2380", "http://127.0.0.1:2379", "no"]
    assert cells(kv.ok("members")) == [["id", "name", "peers", "clients", "learner"], row]
    assert kv.ok("-o", "plain", "members").decode() == "\t".join(row) + "\n"
    assert json.loads(kv.ok("-o", "json", "members")) == {
        "members": [
            {
                "ID": 1,
                "name": "one",
                "peerURLs": ["http://127.0.0.1:2380"],
                "clientURLs": ["http://127.0.0.1:2379"],
                "isLearner": False,
            }
        ]
    }


# --- all of them -----------------------------------------------------------------------------------------------------


def test_bytes_pass_unharmed_in_every_command(kv):
    """Arguments as the shell passes them, one byte for each byte; in and out."""
    key = value = "\udcff".join(chr(byte) for byte in range(1, 128)) + "\udc80\udcfe☃"
    raw = value.encode("utf-8", "surrogateescape")
    kv.ok("put", "--", key, value)
    assert kv.ok("get", "--", key) == raw + b"\n"
    assert kv.ok("get", "--prefix", "--", key) == raw + b"\n" + raw + b"\n"
    assert kv.ok("cas", "--", key, value, value + "\udc81") == b"OK\n"
    assert kv.ok("del", "--", key) == b"1\n"
    transaction = b"value('\xff') = \"\xfe\xc3\"\n\n\nput '\xff' \"\xfe\xc3\"\nget \xff\n"
    assert kv.ok("txn", stdin=transaction) == b"FAILURE\nOK\n\xff\n\xfe\xc3\n"
    assert kv.ok("txn", stdin=transaction.replace(b"\n\n\n", b"\n\n")) == b"SUCCESS\nOK\n\xff\n\xfe\xc3\n"


def test_put_and_del_print_a_line_in_a_table_too(kv):
    assert kv.ok("-o", "table", "put", "a", "1") == b"OK\n"
    assert kv.ok("-o", "table", "cas", "a", "1", "2") == b"OK\n"
    assert kv.ok("-o", "table", "del", "a") == b"1\n"
    assert json.loads(kv.ok("-o", "json", "put", "a", "1")) == {"header": {"revision": 5}}


@pytest.mark.parametrize("command", [None, "put", "get", "del", "cas", "txn", "status", "members"])
def test_help_has_examples_everywhere(kv, command):
    arguments = ["--help"] if command is None else [command, "-h"]
    text = kv.ok(*arguments).decode()
    assert "Example" in text
    assert f"  kv-client {command or 'put'}" in text or f" kv-client -o json {command}" in text
    assert max(map(len, text.splitlines())) <= 100


def test_help_tells_of_completion_exit_codes_and_environment(kv):
    text = kv.ok("--help").decode()
    for part in ("_KV_CLIENT_COMPLETE=bash_source", "zsh_source", "fish_source", "KV_ENDPOINTS", "KV_TIMEOUT"):
        assert part in text
    for code in (0, 1, 2, 3, 4, 130, 141):
        assert f"\n    {code} " in text
