"""Load generators: a process for each store and client library, told over pipes what to do.

``Driver`` is its handle. A question and its answer are one line of JSON each; what the process has to complain about
goes to a file, whose end is part of the error when it dies.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from benchmarks.drivers.load import Load, Outcome
from benchmarks.errors import BenchmarkError

__all__ = ["ROOT", "Driver", "Load", "Outcome"]

ROOT: Final = Path(__file__).parent.parent.parent
_STARTS_S: Final = 60.0
_SLACK_S: Final = 120.0
_FILL_S: Final = 3_600.0
_ENDS_S: Final = 20.0


class Driver:
    """``kind`` is one of ``benchmarks.drivers.__main__.KINDS``. Raises BenchmarkError when the process fails."""

    def __init__(self, kind: str, endpoints: Sequence[str], *, log: Path) -> None:
        self._kind = kind
        self._log = log
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.drivers", kind, *endpoints],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            )
        try:
            self._answer(timeout_s=_STARTS_S)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def load(self, load: Load) -> Outcome:
        told = self._ask({"do": "load", "load": load.as_dict()}, timeout_s=load.warmup_s + load.seconds + _SLACK_S)
        return Outcome(**told)

    def fill(self, *, keys: int, value_bytes: int) -> float:
        """Puts all keys once; keys a second."""
        told = self._ask({"do": "fill", "keys": keys, "value_bytes": value_bytes}, timeout_s=_FILL_S)
        return float(told["per_second"])

    def begin_probe(self, *, every_s: float, value_bytes: int) -> None:
        self._ask({"do": "begin-probe", "every_s": every_s, "value_bytes": value_bytes}, timeout_s=_SLACK_S)

    def end_probe(self) -> list[float]:
        """When each of the probe's puts was answered, in ``time.monotonic`` of this machine."""
        answered: list[float] = self._ask({"do": "end-probe"}, timeout_s=_SLACK_S)["answered"]
        return answered

    def close(self) -> None:
        """Again: nothing."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(_ENDS_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _ask(self, question: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._broken("has died") from None
        return self._answer(timeout_s=timeout_s)

    def _answer(self, *, timeout_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        if not ready:
            raise self._broken(f"has not answered within {timeout_s:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise self._broken("has died")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _broken(self, what: str) -> BenchmarkError:
        lines = self._log.read_text(errors="replace").splitlines()[-12:]
        return BenchmarkError("\n".join([f"the load generator {self._kind} {what}; it wrote:", *lines]))
