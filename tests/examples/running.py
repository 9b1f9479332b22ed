"""How an example is run: as a reader runs it."""

import subprocess
import sys
from pathlib import Path

__all__ = ["run"]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
