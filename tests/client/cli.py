"""``kv-client`` run by a test: in this process, with streams of its own, or as the process that a shell would start."""

import io
import os
import subprocess
import sys
from dataclasses import dataclass

import kvclient.cli
import pytest

__all__ = ["COMMAND", "Done", "KvClient", "one_line"]

COMMAND = [sys.executable, "-W", "error", "-m", "kvclient.cli"]


@dataclass(frozen=True)
class Done:
    code: int
    out: bytes
    err: str


class KvClient:
    """Called with arguments; ``environment`` holds for every call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
        self._monkeypatch = monkeypatch
        self.environment = environment

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Done:
        out, err = io.BytesIO(), io.BytesIO()
        with self._monkeypatch.context() as patch:
            for name, value in {"COLUMNS": "120", "GRPC_VERBOSITY": "NONE", **self.environment}.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, write_through=True))
            patch.setattr(sys, "stderr", io.TextIOWrapper(err, write_through=True))
            with pytest.raises(SystemExit) as exit_:
                kvclient.cli.main(list(arguments), prog_name="kv-client")
            return Done(int(exit_.value.code or 0), out.getvalue(), err.getvalue().decode())

    def ok(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """What it printed, given that it went well."""
        done = self(*arguments, stdin=stdin)
        assert (done.code, done.err) == (0, ""), done
        return done.out

    def process(self, *arguments: str | bytes, stdin: bytes = b"", stdout=subprocess.PIPE) -> Done:
        done = subprocess.run(
            [*COMMAND, *arguments],
            input=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
            env={**os.environ, **self.environment},
        )
        return Done(done.returncode, done.stdout or b"", done.stderr.decode())


def one_line(err: str) -> str:
    """What is on stderr: one line, and whose it is."""
    assert err.startswith("kv-client: "), err
    assert err.count("\n") == 1, err
    assert err.endswith("\n"), err
    return err.removeprefix("kv-client: ").rstrip("\n")
