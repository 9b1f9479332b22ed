"""``kv-sim`` as its users run it: in a process of its own, or within the test where a mistake is planted."""

import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from kvstore.testing.cli.main import cli

__all__ = ["invoke", "kv_sim"]


def kv_sim(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "kvstore.testing.cli.main", *arguments],
        capture_output=True,
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=200,
        check=False,
    )


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="kv-sim")
