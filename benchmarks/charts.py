"""The comparison's pictures, as SVG: the same results give the same bytes. Drawn with matplotlib, if it is there."""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.drivers import ROOT
from benchmarks.stats import median

__all__ = ["CHARTS", "can_draw", "draw"]

CHARTS: Final = ROOT / "docs" / "charts"
_COLOURS: Final = {"kvstore": "#1b6ca8", "etcd": "#e08e0b", "zookeeper": "#5a9367", "pysyncobj": "#9a6fb0"}
_WIDTH: Final = 0.2


def can_draw() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def draw(figures: Mapping[str, Any], *, directory: Path = CHARTS) -> list[Path]:
    """Writes a file for each picture that there are results for."""
    import matplotlib as mpl  # noqa: PLC0415 - an extra: what measures must work without it

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "kvstore", "font.size": 9, "axes.spines.top": False})
    mpl.rcParams.update({"axes.spines.right": False, "figure.constrained_layout.use": True})
    from matplotlib import pyplot as plt  # noqa: PLC0415

    directory.mkdir(parents=True, exist_ok=True)
    written = []
    panels = [
        (title, kind, loads)
        for title, kind in (("puts a second", "put"), ("linearizable gets a second", "get"))
        if (loads := [name for name in figures if name.startswith(f"{kind}-")])
    ]
    if panels:
        figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels), 3.2), squeeze=False)
        for axis, (title, kind, loads) in zip(axes[0], panels, strict=True):
            _bars(axis, figures, loads, title=title, not_linearizable=kind == "get")
        written.append(_save(figure, directory / "throughput.svg"))
    gaps = figures.get("gaps")
    if gaps:
        figure, axis = plt.subplots(figsize=(5.2, 3.0))
        _steps(axis, gaps)
        written.append(_save(figure, directory / "failover.svg"))
    plt.close("all")
    return written


def _bars(axis: Any, figures: Mapping[str, Any], loads: Sequence[str], *, title: str, not_linearizable: bool) -> None:
    names = [name for name in _COLOURS if any(name in figures[load] for load in loads)]
    for offset, name in enumerate(names):
        places = [n + (offset - (len(names) - 1) / 2) * _WIDTH for n in range(len(loads))]
        rounds = [[outcome["per_second"] for outcome in figures[load].get(name, [])] for load in loads]
        heights = [median(values) for values in rounds]
        down = [height - min(values, default=height) for height, values in zip(heights, rounds, strict=True)]
        up = [max(values, default=height) - height for height, values in zip(heights, rounds, strict=True)]
        label = f"{name} (not linearizable)" if not_linearizable and name == "zookeeper" else name
        bars = axis.bar(
            places, heights, _WIDTH * 0.9, yerr=[down, up], label=label, color=_COLOURS[name], ecolor="#444"
        )
        axis.bar_label(bars, labels=[f"{height:,.0f}" for height in heights], fontsize=6, padding=2)
    axis.set_title(f"{title} (logarithmic)")
    axis.set_xticks(range(len(loads)), [f"{load.partition('-')[2]} in flight" for load in loads])
    axis.set_yscale("log")
    axis.margins(y=0.15)
    axis.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=len(names))


def _steps(axis: Any, gaps: Mapping[str, Sequence[float]]) -> None:
    for name, values in gaps.items():
        ordered = sorted(values)
        shares = [(n + 1) / len(ordered) * 100 for n in range(len(ordered))]
        axis.step([0, *ordered], [0, *shares], where="post", label=name, color=_COLOURS.get(name, "#444"))
    axis.set_title("writes stop after SIGKILL of the leader")
    axis.set_xlabel("at most so many milliseconds")
    axis.set_ylabel("% of the kills")
    axis.set_xlim(left=0)
    axis.legend(frameon=False)


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None})
    text = path.read_text(encoding="utf-8")
    path.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")
    return path
