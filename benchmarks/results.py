"""Raw results: one JSON file for each kind of run, with what they were measured on.

Figures of different machines, versions or sizes are not mixed: where those differ, a file begins anew.
"""

import datetime as dt
import importlib.metadata
import json
import os
import platform
import sqlite3
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from benchmarks.drivers import ROOT
from benchmarks.sizes import Sizes

__all__ = ["RESULTS", "Results", "circumstances"]

RESULTS: Final = ROOT / "benchmarks" / "results"
_FORMAT: Final = 1
_LIBRARIES: Final = ("grpcio", "protobuf", "aetcd", "etcd3", "kazoo", "pysyncobj")


class Results:
    """``figures`` maps a name to ``{"measured": when, "revision": of the source, "data": raw}``."""

    def __init__(self, path: Path, around: dict[str, Any], *, merge: bool) -> None:
        self._path = path
        self.around = around
        self.figures: dict[str, dict[str, Any]] = {}
        if merge and path.exists():
            stored = json.loads(path.read_text(encoding="utf-8"))
            if (stored["format"], stored["around"]) == (_FORMAT, around):
                self.figures = stored["figures"]

    @classmethod
    def read(cls, path: Path) -> "Results":
        """As they are in the file, whatever the circumstances."""
        return cls(path, json.loads(path.read_text(encoding="utf-8"))["around"], merge=True)

    def add(self, name: str, data: Mapping[str, Any]) -> None:
        """Written at once: what was measured for an hour is not lost with what fails after it."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        self.figures[name] = {"measured": now, "revision": _revision(), "data": dict(data)}
        text = json.dumps({"format": _FORMAT, "around": self.around, "figures": self.figures}, indent=1)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".draft")
        draft.write_text(text + "\n", encoding="utf-8")
        os.replace(draft, self._path)

    def data(self, name: str) -> dict[str, Any] | None:
        figure = self.figures.get(name)
        return None if figure is None else figure["data"]

    def when(self) -> str:
        """The days of the first and of the last of the figures."""
        days = sorted({figure["measured"][:10] for figure in self.figures.values()})
        return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def circumstances(sizes: Sizes, versions: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What figures depend on: the machine, the versions, the sizes. As JSON would give it back."""
    found: dict[str, str] = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for library in _LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    around: dict[str, Any] = json.loads(
        json.dumps(
            {
                "machine": {
                    "processor": _first("/proc/cpuinfo", "model name"),
                    "cores": os.cpu_count(),
                    "memory": _first("/proc/meminfo", "MemTotal"),
                    "kernel": platform.release(),
                },
                "versions": {**found, **(versions or {})},
                "sizes": asdict(sizes),
            }
        )
    )
    return around


def _first(path: str, name: str) -> str:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return " ".join(line.partition(":")[2].split())
    return "unknown"


def _revision() -> str:
    """Of the source, with a plus where it has been changed since."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return told.stdout.strip()
