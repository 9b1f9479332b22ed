"""``kv-client bench`` and the histogram underneath, against a session server and against one that is etcd's alone."""

import json
import re
from itertools import pairwise

import pytest
from kvclient.cli.load import KINDS, Histogram

from tests.client.cli import KvClient, one_line
from tests.client.servers import unused_endpoint
from tests.client.session.stream_servers import ServerBatch, StreamServer, stream_server


@pytest.fixture
def session_server():
    with stream_server() as server:
        yield server


@pytest.fixture
def bench(monkeypatch, session_server) -> KvClient:
    return KvClient(monkeypatch, KV_ENDPOINTS=session_server.endpoint)


QUICK = ("--duration", "0.2", "--keys", "20", "--inflight", "8")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("conns", [1, 3])
def test_each_kind_of_load(bench, session_server, kind, conns):
    """The document adds up, and the store bore what it says."""
    document = json.loads(bench.ok("-o", "json", "bench", kind, "--conns", str(conns), "--value-size", "5", *QUICK))
    assert [document[name] for name in ("kind", "conns", "inflight", "keys", "value_size")] == [kind, conns, 8, 20, 5]
    calls, latency = document["calls"], document["latency_s"]
    assert calls >= 8
    assert 0.2 <= document["elapsed_s"] < 10
    assert document["calls_per_s"] == pytest.approx(calls / document["elapsed_s"])
    assert sum(row["calls"] for row in document["histogram"]) == calls
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99.9"] <= latency["max"]
    assert 0 < latency["mean"] <= latency["max"]
    assert document["errors"] == {}
    writes = {"put": calls, "get": 20, "txn": calls + 20}.get(kind)
    assert writes is None or session_server.store.applied == writes
    keys = {b"bench/%08d" % number for number in range(20)}
    assert set(session_server.store.values) <= keys if kind == "put" else set(session_server.store.values) == keys
    assert len(session_server.opens) == conns


def test_for_people_there_is_a_line_a_table_and_a_histogram(bench):
    lines = bench.ok("bench", "put", *QUICK).decode().splitlines()
    assert re.fullmatch(r"[1-9]\d* calls in \d+\.\d\d s: [\d,]+ a second", lines[0])
    assert all(column in lines[2] for column in ("mean", "p50", "p90", "p99", "p99.9", "max"))
    assert any(line.startswith("<= ") and line.rstrip().endswith("#") for line in lines)


def test_a_server_without_sessions_bears_a_load_too(kv, server):
    document = json.loads(kv.ok("-o", "json", "bench", "mixed", *QUICK))
    assert document["calls"] > 0
    assert server.writes > 20


def test_calls_in_flight_are_as_many_as_was_said(bench, session_server):
    bench.ok("bench", "put", *QUICK)
    assert max(len(batch.entries) for batch in session_server.batches) <= 8
    assert len(session_server.batches[0].entries) == 8


def test_nobody_there_is_an_error_in_one_line(monkeypatch):
    with unused_endpoint() as nobody:
        bench = KvClient(monkeypatch, KV_ENDPOINTS=nobody)
        for kind in ("put", "get"):
            done = bench("--timeout", "0.2", "bench", kind, *QUICK)
            assert (done.code, done.out) == (3, b"")
            assert nobody in one_line(done.err)


def test_errors_are_counted_and_end_with_exit_code_3(monkeypatch):
    """The calls that went well are reported all the same."""

    def every_other(server: StreamServer, batch) -> ServerBatch:
        answers = server.store.answer(batch)
        if len(server.batches) % 2:
            return answers
        refusals = ServerBatch()
        for entry in batch.entries:
            refusal = refusals.writes.add(sequence=entry.sequence).refusal
            refusal.code, refusal.text = 8, "etcdserver: too many requests"
        return refusals

    with stream_server(None, every_other, for_ever=True) as server:
        done = KvClient(monkeypatch, KV_ENDPOINTS=server.endpoint)("-o", "json", "bench", "put", *QUICK)
    document = json.loads(done.out)
    assert done.code == 3
    assert document["calls"] > 0
    assert document["errors"]["ResourceExhausted"] > 0
    assert "ResourceExhausted" in one_line(done.err)


@pytest.mark.parametrize(
    "arguments", [["watch"], [], ["put", "--inflight", "0"], ["put", "--duration", "0"], ["put", "--conns", "x"]]
)
def test_wrong_usage(bench, session_server, arguments):
    done = bench("bench", *arguments)
    assert (done.code, done.out) == (2, b"")
    assert one_line(done.err)
    assert session_server.opens == []


# --- the histogram ---------------------------------------------------------------------------------------------------


def test_percentiles_are_right_to_a_few_hundredths():
    histogram = Histogram()
    for number in range(1, 10_001):
        histogram.add(number / 1000)
    for percent, expected in ((50, 5.0), (90, 9.0), (99, 9.9), (99.9, 9.99), (100, 10.0)):
        assert histogram.percentile(percent) == pytest.approx(expected, rel=0.03)
    assert (histogram.count, histogram.max_s) == (10_000, 10.0)
    assert histogram.mean_s == pytest.approx(5.0005)


def test_rows_double_and_hold_everything():
    histogram = Histogram()
    for duration_s in (0.0, 1e-9, 1e-4, 3e-4, 0.7):
        histogram.add(duration_s)
    rows = list(histogram.rows())
    assert sum(count for _, count in rows) == 5
    bounds = [bound for bound, _ in rows]
    assert all(after == pytest.approx(2 * before) for before, after in pairwise(bounds))
    assert bounds[-1] >= 0.7


def test_an_empty_histogram_is_zeros():
    empty = Histogram()
    assert (empty.percentile(50), empty.mean_s, empty.max_s, list(empty.rows())) == (0.0, 0.0, 0.0, [])
