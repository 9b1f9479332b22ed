"""The README, typed in from its first line to its last on a machine whose usual ports may be taken.

Every command is run as it stands there, other ports apart, and must succeed; where the page shows what it prints, that
is what it must print. What needs a terminal of its own gets one. ``make`` is left out: it is what runs this.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvstore.server.ports import free_base_port
from kvstore.server.processes import wait_until
from tests.docs.pages import ROOT, Page
from tests.e2e.clusters import WAIT_S, installed

pytestmark = pytest.mark.e2e

IN_A_TERMINAL_OF_ITS_OWN = ("kv-cluster up", "kv-server")


class Reader:
    """Somebody who types what the page says."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._base_port = free_base_port(nodes=3)
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("KV_")}
        self._environment["PATH"] = f"{Path(installed('python')).parent}:{os.environ['PATH']}"
        self._terminals: list[subprocess.Popen[bytes]] = []

    def type(self, command: str, expected: str) -> None:
        command, expected = self._here(command), self._here(expected)
        if (name := command.split()[0]) in {"make", "kv-sim"} or (name == "etcdctl" and not shutil.which(name)):
            return
        if command.startswith("export "):
            variable, _, value = command.removeprefix("export ").partition("=")
            self._environment.setdefault(variable, value)
        elif command.startswith(IN_A_TERMINAL_OF_ITS_OWN):
            self._open_terminal(command)
        else:
            done = self._run(["bash", "-c", command])
            assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
            if expected:
                assert done.stdout == expected, f"$ {command}"

    def run_python(self, program: str) -> None:
        done = self._run([sys.executable, "-W", "error", "-c", self._here(program)])
        assert done.returncode == 0, f"{program}\n{done.stderr}"

    def close(self) -> None:
        for terminal in self._terminals:
            terminal.send_signal(signal.SIGINT)
        for terminal in self._terminals:
            assert terminal.wait(timeout=WAIT_S) == 0, "Ctrl-C is a good end"

    def _open_terminal(self, command: str) -> None:
        if command == "kv-cluster up":
            command += f" --base-port {self._base_port}"
        screen = self._directory / f"screen {len(self._terminals)}"
        with screen.open("wb") as output:
            self._terminals.append(
                subprocess.Popen(
                    command.split(),
                    stdout=output,
                    stderr=output,
                    cwd=self._directory,
                    env={**self._environment, "PYTHONUNBUFFERED": "1"},
                )
            )
        if command.startswith("kv-cluster") or "--id 3" in command:
            ready = "Ctrl-C stops them." if command.startswith("kv-cluster") else "follows node|leads in"
            assert wait_until(lambda: re.search(ready, screen.read_text()) is not None, timeout_s=WAIT_S), (
                screen.read_text()
            )

    def _run(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_S,
            cwd=self._directory,
            env=self._environment,
        )

    def _here(self, text: str) -> str:
        """With ports that are free."""
        return re.sub(r"(?<=:)(23[789]\d|2400)\b", lambda port: str(self._base_port + int(port[0]) - 2379), text)


def commands(console: str) -> Iterator[tuple[str, str]]:
    """Each ``$ command`` with the lines that follow it."""
    for part in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def test_everything_that_the_readme_shows_works_as_shown(tmp_path: Path) -> None:
    page = Page(ROOT / "README.md")
    reader = Reader(tmp_path)
    typed = []
    try:
        for block in sorted(page.blocks("console") + page.blocks("python"), key=lambda block: block.line):
            if block.language == "python":
                reader.run_python(block.text)
                continue
            for command, output in commands(block.text):
                reader.type(command, output)
                typed.append(command)
    finally:
        reader.close()
    for name in ("kv-cluster up", "kv-server --id 3", "kv-client get", "kv-cluster kill", "sqlite-utils"):
        assert any(command.startswith(name) for command in typed), f"the page shows no {name}"
