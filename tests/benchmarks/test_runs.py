"""Every figure and every part of the comparison can be taken, at the smallest sizes. What they come to is not asked."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import compare
from benchmarks.figures import FIGURES, Bench
from benchmarks.goals import verdicts
from benchmarks.sizes import Sizes
from benchmarks.steps import Steps

TINY = Sizes(
    rounds=1,
    seconds=0.2,
    warmup_s=0.1,
    kills=1,
    watch_s=1.0,
    settle_s=0.0,
    idle_s=0.2,
    keys=20,
    keys_many=300,
    restarts=1,
    overload_in_flight=(32, 64),
    overload_factor=2,
    in_flight=(1, 8),
    sync_threads=4,
    h2_streams=4,
)

PROMPT = ("puts", "commits", "cpu")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(sizes=TINY, scratch=tmp_path, steps=Steps(Console(quiet=True), total=1))


@pytest.mark.e2e
@pytest.mark.parametrize(
    "name", [*PROMPT, *(pytest.param(n, marks=pytest.mark.long) for n in FIGURES if n not in PROMPT)]
)
def test_a_figure_can_be_taken_and_reads_well(bench: Bench, name: str) -> None:
    """From what its file gives back, too."""
    figure = FIGURES[name]
    if missing := figure.missing():
        pytest.skip(f"{missing} is not installed")
    data = json.loads(json.dumps(figure.measure(bench)))
    lines = figure.lines(data)
    assert lines
    assert all(line.what and line.value and "nan" not in line.value for line in lines)


@pytest.mark.e2e
@pytest.mark.long
@pytest.mark.parametrize("part", compare.PARTS)
def test_a_part_of_the_comparison_can_be_measured(bench: Bench, part: str) -> None:
    """Beside whatever is installed; a row is judged exactly if both sides of it were measured."""
    figures = json.loads(json.dumps(compare.PARTS[part](bench)))
    for name in ("put-8", "get-8", "sync", "unary", "gaps", "keys"):
        assert "kvstore" in figures.get(name, {"kvstore": []})
    judged = [v for v in verdicts(figures) if v.seen is not None]
    assert all(v.seen and v.seen.ratio > 0 for v in judged)
    assert part != "itself" or len(judged) == 3


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    missing = compare.missing()
    assert [what for what in missing if what.startswith(("etcd-server", "zookeeper", "h2load"))] == [
        "etcd-server (Debian) and aetcd",
        "zookeeper (Debian) and kazoo",
        "h2load (Debian: nghttp2-client)",
    ]
