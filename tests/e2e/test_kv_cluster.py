"""kv-cluster as people use it: up in one terminal, all else in another, kv-client in a third."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kvstore.server.ports import free_base_port, is_free
from kvstore.server.processes import wait_until
from tests.e2e.clusters import WAIT_S, installed

pytestmark = pytest.mark.e2e


@dataclass(frozen=True)
class Terminals:
    """``up`` runs in the first one, with its output in ``screen``."""

    data_dir: Path
    base_port: int
    up: "subprocess.Popen[bytes]"
    screen: Path

    @property
    def endpoints(self) -> list[str]:
        return [f"127.0.0.1:{self.base_port + offset}" for offset in (0, 10, 20)]

    def run(self, *arguments: str) -> str:
        """A kv-cluster command in another terminal; returns what it prints."""
        done = self.attempt(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def attempt(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return execute("kv-cluster", *arguments, "--data-dir", str(self.data_dir))

    def client(self, *arguments: str) -> str:
        done = execute("kv-client", "--endpoints", ",".join(self.endpoints), "--timeout", "30", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def says(self, line: str) -> bool:
        return wait_until(lambda: line in self.screen.read_text(), timeout_s=WAIT_S)

    def row(self, node_id: int) -> str:
        """The node's line in the table of ``status``."""
        return next(line for line in self.run("status").splitlines() if line.startswith(f"│ {node_id} "))


def execute(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [installed(name), *arguments],
        capture_output=True,
        text=True,
        timeout=WAIT_S * 2,
        check=False,
        env=environment(),
    )


def environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KV_")}
    return {**inherited, "COLUMNS": "200"}


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[Terminals]:
    base_port = free_base_port(nodes=3)
    data_dir, screen = tmp_path / "data", tmp_path / "screen"
    with screen.open("wb") as output:
        up = subprocess.Popen(
            [installed("kv-cluster"), "up", "--base-port", str(base_port), "--data-dir", str(data_dir)],
            stdout=output,
            stderr=output,
            env=environment(),
        )
    try:
        terminals = Terminals(data_dir, base_port, up, screen)
        assert terminals.says("Ctrl-C stops them."), screen.read_text()
        yield terminals
    finally:
        if up.poll() is None:
            up.send_signal(signal.SIGINT)
        up.wait(timeout=WAIT_S)


def test_a_day_in_the_life_of_a_local_cluster(terminals: Terminals) -> None:
    screen = terminals.screen.read_text()
    assert "3 nodes are up" in screen
    assert all(endpoint in screen for endpoint in terminals.endpoints)
    assert f"export KV_ENDPOINTS={','.join(terminals.endpoints)}" in screen
    assert terminals.client("put", "key", "value") == "OK\n"

    assert terminals.run("kill", "2") == "node 2 is dead\n"
    assert terminals.says("node 2 is dead: killed by SIGKILL"), "the first terminal tells, and restarts nobody"
    assert " dead " in terminals.row(2)
    assert terminals.client("put", "key", "without node 2") == "OK\n"
    again = terminals.attempt("kill", "2")
    assert (again.returncode, again.stderr) == (
        1,
        "Error: node 2 is dead already: kv-cluster restart 2 starts it\n",
    )

    assert terminals.run("restart", "2") == f"node 2 is ready on {terminals.endpoints[1]}\n"
    assert terminals.says("node 2 was restarted")
    assert terminals.run("pause", "3") == "node 3 is paused\n"
    assert " paused " in terminals.row(3)
    assert terminals.client("get", "key") == "without node 2\n"
    assert terminals.run("resume", "3") == "node 3 goes on\n"
    assert wait_until(lambda: " serving " in terminals.row(3), timeout_s=WAIT_S)
    nobody = terminals.attempt("pause", "9")
    assert (nobody.returncode, nobody.stderr) == (1, "Error: there is no node 9: this cluster has nodes 1, 2, 3\n")

    assert terminals.run("down") == "the cluster is down\n"
    assert terminals.up.wait(timeout=WAIT_S) == 0
    assert all(map(is_free, terminals.endpoints))
    gone = terminals.attempt("status")
    assert gone.returncode == 1
    assert gone.stderr.startswith("Error: no cluster runs in ")


def test_ctrl_c_stops_all_nodes_and_the_next_up_goes_on_with_their_data(terminals: Terminals, tmp_path: Path) -> None:
    terminals.client("put", "key", "value")
    terminals.up.send_signal(signal.SIGINT)
    assert terminals.up.wait(timeout=WAIT_S) == 0
    assert all(map(is_free, terminals.endpoints))

    screen = tmp_path / "second screen"
    with screen.open("wb") as output:
        up = subprocess.Popen(
            [
                *(installed("kv-cluster"), "up", "--base-port", str(terminals.base_port)),
                *("--data-dir", str(terminals.data_dir)),
            ],
            stdout=output,
            stderr=output,
            env=environment(),
        )
    try:
        assert wait_until(lambda: "Ctrl-C stops them." in screen.read_text(), timeout_s=WAIT_S)
        assert terminals.client("get", "key") == "value\n"
    finally:
        up.send_signal(signal.SIGTERM)
        assert up.wait(timeout=WAIT_S) == 0
