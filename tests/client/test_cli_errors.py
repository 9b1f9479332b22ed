"""What goes wrong with ``kv-client``: one line on stderr, and an exit code that tells "no" from "nobody knows"."""

import os
import signal
import subprocess

import pytest
from grpc import StatusCode
from kvproto.etcd.rpc_pb2 import RangeRequest

from tests.client import raw_server as raw
from tests.client.cli import COMMAND, KvClient, one_line
from tests.client.raw_server import raw_server
from tests.client.servers import WAIT_S, Hang, Refuse, scripted, unused_endpoint

NUMBER_MAX = 2**63 - 1

# --- wrong usage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Missing command"),
        (["geet", "a"], "No such command 'geet'"),
        (["--nope", "get", "a"], "No such option"),
        (["put"], "Missing argument 'KEY'. (see kv-client put --help)"),
        (["put", "a"], "Missing argument 'VALUE'"),
        (["put", "a", "1", "2"], "unexpected extra argument"),
        (["put", "a", "-5"], "No such option"),
        (["get"], "Missing argument 'KEY'"),
        (["get", ""], "KEY is empty; every key there is: get --prefix ''"),
        (["get", "a", "--limit", "x"], "'x' is not a valid integer"),
        (["get", "a", "--limit", "-1"], "-1 is not between 0 and"),
        (["get", "a", "--rev", str(NUMBER_MAX + 1)], f"is not between 0 and {NUMBER_MAX}"),
        (["cas", "a"], "Missing argument"),
        (["cas", "a", "1"], "cas takes KEY OLD NEW, or --absent KEY NEW"),
        (["cas", "a", "1", "2", "3"], "cas takes KEY OLD NEW"),
        (["cas", "--absent", "a", "1", "2"], "--absent takes KEY NEW"),
        (["txn", "/does/not/exist"], "No such file or directory"),
        (["txn", "/"], "Is a directory"),
        (["--timeout", "0", "get", "a"], "more than 0 seconds"),
        (["--timeout", "nan", "get", "a"], "more than 0 seconds"),
        (["--timeout", "inf", "get", "a"], "more than 0 seconds"),
        (["--timeout", "x", "get", "a"], "'x' is not a valid float"),
        (["--endpoints", "a:b", "get", "a"], "the port 'b' is not between 1 and 65535"),
        (["--endpoints", ",", "get", "a"], "no endpoint"),
        (["--endpoints", "https://a", "get", "a"], "only http://"),
        (["-o", "yaml", "get", "a"], "'yaml' is not one of"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_nothing_is_sent(kv, server, arguments, says):
    done = kv(*arguments)
    assert (done.code, done.out) == (2, b"")
    assert says in one_line(done.err)
    assert "--help)" in done.err
    assert (server.writes, server.replica.confirmations) == (0, 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"value(a) == 1", "line 1: 'value(a) == 1': a comparison is"),
        (b"values(a) = 1", "a comparison is"),
        (b'# comment\n\nput "a b', 'line 3: the quotation that begins here with " has no end'),
        (b"\nput a\n", "line 2: 'put a': an operation is"),
        (b"\nput a b c\n", "an operation is"),
        (b"\nremove a\n", "an operation is"),
        (b"\n\n\nget a\n", "line 4: 'get a' comes after the third block"),
        (b"mod(a) = b\n", "line 1: mod is compared with a number, not with 'b'"),
        (b"mod(a) = 9223372036854775808\n", "mod is compared with a number"),
        (b"\nput a b\\", "No escaped character"),
    ],
)
def test_what_is_no_transaction_is_wrong_usage(kv, server, text, says):
    done = kv("txn", stdin=text)
    assert (done.code, done.out) == (2, b"")
    assert says in one_line(done.err)
    assert server.writes == 0


def test_the_environment_stands_in_for_options_and_they_go_first(monkeypatch, server):
    with unused_endpoint() as nobody:
        kv = KvClient(monkeypatch, KV_ENDPOINTS=nobody, KV_TIMEOUT="0.1")
        assert one_line(kv("get", "a").err).startswith(nobody)
        assert kv.ok("--endpoints", server.endpoint, "put", "a", "1") == b"OK\n"
    done = KvClient(monkeypatch, KV_ENDPOINTS=server.endpoint, KV_TIMEOUT="-1")("get", "a")
    assert (done.code, "KV_TIMEOUT" in one_line(done.err)) == (2, True)
    done = KvClient(monkeypatch, KV_ENDPOINTS="a:b")("get", "a")
    assert (done.code, "KV_ENDPOINTS" in one_line(done.err)) == (2, True)


# --- errors ----------------------------------------------------------------------------------------------------------


def test_refusals_and_unreachable_servers_are_exit_code_3(kv, server):
    done = kv("put", "", "1")
    assert (done.code, one_line(done.err)) == (3, f"{server.endpoint}: etcdserver: key is not provided")
    done = kv("get", "a", "--rev", "99")
    assert (done.code, done.out) == (3, b"")
    assert one_line(done.err) == f"{server.endpoint}: etcdserver: mvcc: required revision is a future revision"
    with unused_endpoint() as nobody:
        done = kv("--endpoints", nobody, "--timeout", "0.1", "put", "a", "1")
    assert done.code == 3
    assert "Connection refused" in one_line(done.err)


def test_a_write_of_unknown_outcome_is_exit_code_4_whichever_the_command(kv):
    writes = (["put", "a", "1"], ["del", "a"], ["cas", "a", "1", "2"], ["cas", "--absent", "a", "1"], ["txn"])
    with scripted(Refuse(StatusCode.UNAVAILABLE, "etcdserver: request timed out")) as one:
        for sent, write in enumerate(writes, start=1):
            done = kv("--endpoints", one.endpoint, *write, stdin=b"\nput a 1\n")
            assert (done.code, done.out) == (4, b"")
            assert one_line(done.err) == (
                f"{one.endpoint}: whether the write was done is unknown: etcdserver: request timed out"
            )
            assert len(one.calls) == sent


def test_the_timeout_is_kept(kv):
    with scripted(Hang()) as silent:
        assert kv("--endpoints", silent.endpoint, "--timeout", "0.1", "get", "a").code == 3
        assert kv("--endpoints", silent.endpoint, "--timeout", "0.1", "put", "a", "1").code == 4


def test_the_status_shows_those_that_answer_and_complains_of_the_others(kv, server):
    with unused_endpoint() as nobody:
        done = kv("--endpoints", f"{nobody},{server.endpoint}", "-o", "plain", "status")
        assert done.code == 3
        assert done.out.decode().splitlines()[0] == f"{nobody}\t" + "\t".join("-" * 7)
        assert done.out.decode().splitlines()[1].startswith(server.endpoint)
        assert one_line(done.err).startswith(f"{nobody}: ")
        assert b'"error": ' in kv("--endpoints", nobody, "-o", "json", "status").out


def test_the_next_endpoint_is_asked(kv, server):
    with unused_endpoint() as nobody:
        assert kv.ok("--endpoints", f"{nobody},{server.endpoint}", "put", "a", "1") == b"OK\n"


# --- as a process ----------------------------------------------------------------------------------------------------


def test_the_bytes_of_arguments_and_of_the_output_are_the_stores(kv, server):
    """Whatever the locale takes for a letter."""
    raw_bytes = bytes(range(128, 256)) + "☃".encode()
    for locale in ("C.UTF-8", "C"):
        kv.environment["LC_ALL"] = locale
        assert kv.process("put", raw_bytes, raw_bytes).out == b"OK\n"
        assert kv.process("get", b"--prefix", raw_bytes).out == raw_bytes + b"\n" + raw_bytes + b"\n"
    (found,) = server.loop.call(lambda: kv_range(server)).kvs
    assert (found.key, found.value, found.version) == (raw_bytes, raw_bytes, 2)


def kv_range(server):
    return server.replica.store.range(RangeRequest(key=b"\0", range_end=b"\0"))


def test_a_table_in_a_locale_without_its_letters_is_still_printed(kv):
    kv.ok("put", "☃", "ü")
    kv.environment |= {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = kv.process("-o", "table", "get", "☃")
    assert (done.code, done.err) == (0, "")
    assert rb"\u2603" in done.out


def test_nothing_but_our_line_is_on_stderr_when_a_connection_breaks(kv):
    """gRPC's library has things to say there as well."""
    with raw_server(raw.go_away_with_error) as broken:
        done = kv.process("--endpoints", broken.endpoint, "put", "a", "1")
    assert (done.code, done.out) == (4, b"")
    one_line(done.err)


def test_a_reader_that_went_away_is_no_error(kv):
    kv.ok("put", "a", "x" * 1_000_000)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = kv.process("get", "a", stdout=writing)
    finally:
        os.close(writing)
    assert (done.code, done.err) == (141, "")


def test_an_output_that_cannot_be_written_is_an_error(kv, server):
    for arguments in (["put", "a", "1"], ["status"]):
        with open("/dev/full", "wb") as full:
            done = kv.process(*arguments, stdout=full)
        assert done.code == 3
        assert one_line(done.err) == ("the answer could not be written to standard output: No space left on device")


def test_an_input_that_cannot_be_read_is_wrong_usage(kv, server):
    only_for_writing = f"exec {' '.join(COMMAND)} put a - 0>/dev/null"
    closed = f"exec {' '.join(COMMAND)} put a - <&-"
    for program, says in ((only_for_writing, "the input cannot be read"), (closed, "standard input is closed")):
        done = subprocess.run(
            ["/bin/sh", "-c", program],
            env={**os.environ, "KV_ENDPOINTS": server.endpoint},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert says in one_line(done.stderr)
    assert server.writes == 0


@pytest.mark.parametrize("command", [["put", "a", "1"], ["status"]])
def test_an_interrupt_ends_it_and_admits_the_doubt(command):
    with scripted(Hang()) as silent:
        with subprocess.Popen(
            [*COMMAND, "--endpoints", silent.endpoint, "--timeout", "600", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert silent.arrived.wait(WAIT_S)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=WAIT_S)
        assert (process.returncode, out) == (130, b"")
        assert "whether a write that was under way is done is unknown" in one_line(err.decode())


def test_completion_is_as_the_help_says(kv):
    for shell in ("bash", "zsh", "fish"):
        kv.environment["_KV_CLIENT_COMPLETE"] = f"{shell}_source"
        script = kv.process()
        assert script.code == 0
        assert f"_KV_CLIENT_COMPLETE={shell}_complete".encode() in script.out
    kv.environment |= {"_KV_CLIENT_COMPLETE": "bash_complete", "COMP_WORDS": "kv-client get --s", "COMP_CWORD": "2"}
    assert kv.process().out == b"plain,--serializable\n"
