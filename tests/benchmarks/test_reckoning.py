"""What is made of raw results: percentiles, gaps, verdicts, the page. No clusters here."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks import charts, compare, page
from benchmarks.errors import BenchmarkError
from benchmarks.goals import ROWS, Bound, Seen, verdicts
from benchmarks.measures.failover import gap_of
from benchmarks.measures.overload import saturating
from benchmarks.measures.resources import logged_commits
from benchmarks.measures.unary import framed
from benchmarks.results import Results, circumstances
from benchmarks.sizes import FULL, QUICK
from benchmarks.stats import median, percentile, ratio_range


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (25, 1), (50, 2), (75, 3), (99, 4), (100, 4)])
def test_a_percentile_is_an_element_that_so_many_do_not_exceed(percent: float, value: float) -> None:
    assert percentile([1, 2, 3, 4], percent) == value


def test_of_nothing_there_is_no_percentile_and_no_median() -> None:
    assert math.isnan(percentile([], 50))
    assert math.isnan(median([]))


def test_the_range_of_ratios_is_that_of_single_rounds() -> None:
    assert ratio_range([2.0, 9.0], [1.0, 3.0]) == (2.0, 3.0)


def test_a_gap_is_the_longest_silence_that_ends_after_the_kill() -> None:
    """A longer one before the kill is not the kill's; one that began before it is."""
    assert gap_of([0.0, 5.0, 5.1, 5.9, 6.0, 6.3], killed=5.2) == pytest.approx(0.8)
    with pytest.raises(BenchmarkError, match="before the leader"):
        gap_of([5.9], killed=5.2)
    with pytest.raises(BenchmarkError, match="of the leader's death"):
        gap_of([5.0], killed=5.2)


def test_what_saturates_is_the_least_that_comes_near_the_most() -> None:
    assert saturating([(64, 50.0), (128, 96.0), (256, 80.0), (512, 100.0)]) == 128
    assert saturating([(64, 50.0)]) == 64


def test_the_commits_are_those_of_the_last_stop() -> None:
    log = "stopped: 3 commits since the start, 9 records\n...\nstopped: 41 commits since the start, 90 records\n"
    assert logged_commits(log) == 41
    with pytest.raises(BenchmarkError, match="by force"):
        logged_commits("killed")


def test_a_framed_message_has_its_length_before_it() -> None:
    assert framed(b"abc") == b"\0\0\0\0\3abc"


def test_a_bound_is_one_of_the_ratio_or_of_our_own_figure() -> None:
    seen = Seen(ours=250.0, theirs=1000.0, unit="ms")
    assert Bound(0.25, at_least=False).holds(seen)
    assert not Bound(0.26, at_least=True).holds(seen)
    assert Bound(300, at_least=False, absolute=" ms").holds(seen)
    assert not Bound(249, at_least=False, absolute=" ms").holds(seen)


def rounds(*per_second: float) -> list[dict[str, float]]:
    return [{"per_second": one, "p50_ms": 1000 / one} for one in per_second]


def keys_data(megabytes: int, seconds: float) -> dict[str, Any]:
    memory = {"1": {"resident": megabytes * 10**6, "anonymous": 1}, "2": {"resident": 1, "anonymous": 1}}
    return {"memory": memory, "one_s": [seconds] * 3, "all_s": [2 * seconds] * 3}


EVERYTHING: dict[str, Any] = {
    **{f"put-{n}": {"kvstore": rounds(60, 70, 80), "etcd": rounds(10, 10, 10)} for n in (1, 64, 256)},
    "get-256": {"kvstore": rounds(20), "etcd": rounds(10), "zookeeper": rounds(5)},
    "sync": {"kvstore": rounds(20), "etcd": rounds(10)},
    "unary": {"kvstore": rounds(5), "etcd": rounds(10)},
    "gaps": {"kvstore": [100.0, 200.0, 900.0], "etcd": [1000.0, 1100.0, 2000.0]},
    "keys": {"kvstore": keys_data(100, 1.0), "etcd": keys_data(1000, 1.5)},
    "many": {"rounds": {"many": rounds(9), "few": rounds(10)}},
    "nodes": {"5": rounds(5), "3": rounds(10)},
    "overload": {
        "overloaded": rounds(9),
        "saturated": rounds(10),
        "resident_worst_overloaded": {"1": 300, "2": 100},
        "resident_worst_saturated": {"1": 100, "2": 100},
    },
}


def test_each_row_says_what_the_raw_results_come_to() -> None:
    found = [
        (v.seen and round(v.seen.ratio, 2), v.met(v.row.must), v.row.aim and v.met(v.row.aim))
        for v in verdicts(EVERYTHING)
    ]
    assert found == [
        (7.0, True, True),  # puts, 256 in flight
        (7.0, True, True),  # 64
        (0.14, True, True),  # p50
        (2.0, False, False),  # gets
        (2.0, False, False),  # threads
        (0.5, True, True),  # one call each
        (0.18, True, True),  # gap, p50
        (0.45, False, None),  # worst
        (0.1, True, True),  # memory
        (0.67, False, False),  # restart of one
        (0.67, False, False),  # of all
        (0.9, True, False),  # many keys
        (0.5, False, None),  # five nodes
        (0.9, True, True),  # overload
        (3.0, False, None),  # memory under overload
    ]


def test_a_row_without_its_figure_is_not_measured() -> None:
    """Not met would be a lie, and so would met."""
    assert all(v.seen is None and v.met(v.row.must) is None for v in verdicts({}))
    only_ours = {"put-256": {"kvstore": rounds(1)}, "gaps": {"kvstore": [1.0]}, "keys": {"kvstore": keys_data(1, 1)}}
    assert all(v.seen is None for v in verdicts(only_ours))


def test_the_comparison_reads_the_same_from_its_file(tmp_path: Path) -> None:
    """Every row is in it, with its verdict, and all that was measured beside."""
    results = Results(tmp_path / "compare.json", circumstances(FULL), merge=False)
    for name, data in EVERYTHING.items():
        results.add(name, data)
    section = compare.section(Results.read(tmp_path / "compare.json"))
    assert section == compare.section(results)
    assert all(row.what in section for row in ROWS)
    assert (
        "| linearizable gets/s from Python, 256 in flight | etcd, aetcd | 20/s | 10/s | 2.00× (2.00–2.00) |" in section
    )
    assert "≥ 3×: **not met**" in section
    assert "| gets, 256 in flight | 20 (50.00) | 10 (100.00) | 5 (200.00) |" in section


def test_figures_of_other_sizes_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    first = Results(path, circumstances(FULL), merge=True)
    first.add("puts", {"1": []})
    first.add("idle", {})
    again = Results(path, circumstances(FULL), merge=True)
    again.add("idle", {"percent": {}})
    assert list(json.loads(path.read_text())["figures"]) == ["puts", "idle"]
    assert again.data("idle") == {"percent": {}}
    assert Results(path, circumstances(QUICK), merge=True).figures == {}


def test_only_what_is_between_the_markers_is_replaced() -> None:
    text = "by hand\n<!-- begin x: written by `make bench` -->\nold\n<!-- end x -->\nby hand too\n"
    new = page.replace_section(text, "x", "a \\1 new\n")
    assert new == "by hand\n<!-- begin x: written by `make bench` -->\n\na \\1 new\n\n<!-- end x -->\nby hand too\n"
    assert page.replace_section(new, "x", "a \\1 new") == new
    with pytest.raises(BenchmarkError, match="one pair"):
        page.replace_section(text, "y", "new")


@pytest.mark.parametrize("name", ["figures", "comparison"])
def test_the_page_has_a_place_for_each_section(name: str) -> None:
    assert "\nnew\n" in page.replace_section(page.PAGE.read_text(encoding="utf-8"), name, "new")


def test_the_same_results_give_the_same_pictures(tmp_path: Path) -> None:
    first, second = charts.draw(EVERYTHING, directory=tmp_path / "1"), charts.draw(EVERYTHING, directory=tmp_path / "2")
    assert [path.name for path in first] == ["throughput.svg", "failover.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert "<svg" in first[0].read_text(encoding="utf-8")
