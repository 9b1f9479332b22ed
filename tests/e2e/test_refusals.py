"""What kv-server refuses once there are ports, directories and peers: one line, both values, status 2, no traces."""

import hashlib
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from kvclient import Client

from kvstore.server.ports import free_base_port
from kvstore.server.processes import wait_until
from tests.e2e.clusters import WAIT_S, running

pytestmark = pytest.mark.e2e

KV_SERVER = (sys.executable, "-m", "kvstore.server.main")


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("KV_")}


def refusal(*arguments: str, command: tuple[str, ...] = KV_SERVER) -> str:
    """The one line with which kv-server refuses to start."""
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, env=environment(), timeout=WAIT_S, check=False
    )
    assert done.returncode == 2, f"status {done.returncode}:\n{done.stderr}"
    said = [line for line in done.stderr.splitlines() if line.startswith("kv-server: ")]
    assert len(said) == 1, done.stderr
    assert done.stderr.splitlines()[-1] == said[0], "its last word"
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return said[0].removeprefix("kv-server: ")


def picture(directory: Path) -> dict[str, tuple[int, str]]:
    """Everything in it: modes, and digests of the contents. The lock is no data: it holds who last asked for it."""
    found = {".": (directory.stat().st_mode, "")}
    for path in sorted(directory.iterdir()):
        if path.name != "lock":
            found[path.name] = (path.stat().st_mode, hashlib.sha256(path.read_bytes()).hexdigest())
    return found


@dataclass(frozen=True)
class Formed:
    """A cluster that was formed, written to and stopped: each node's directory, and the --peers of all."""

    peers: str
    directories: dict[int, Path]

    def flags(self, node_id: int, directory: Path) -> tuple[str, ...]:
        return ("--id", str(node_id), "--peers", self.peers, "--data-dir", str(directory))


@pytest.fixture(scope="module")
def formed(tmp_path_factory: pytest.TempPathFactory) -> Formed:
    with running(tmp_path_factory.mktemp("formed") / "cluster") as cluster:
        with Client(cluster.endpoints, timeout=WAIT_S) as client:
            for number in range(20):
                client.put(f"key {number}", "value")
        command = cluster._state().nodes[1].command
    return Formed(
        peers=command[command.index("--peers") + 1],
        directories={node_id: cluster.node_dir(node_id) for node_id in cluster.node_ids},
    )


@pytest.fixture
def copies(formed: Formed, tmp_path: Path) -> Formed:
    """The same, in copies that a test may spoil."""
    directories = {}
    for node_id, directory in formed.directories.items():
        directories[node_id] = tmp_path / str(node_id)
        shutil.copytree(directory, directories[node_id])
    return Formed(formed.peers, directories)


@contextmanager
def listening(port: int) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", port)):
        yield


@pytest.mark.parametrize(("flag", "offset"), [("--listen-client", 0), ("--listen-peer", 1)])
def test_a_port_in_use(tmp_path: Path, flag: str, offset: int) -> None:
    base = free_base_port(nodes=1)
    data_dir = tmp_path / "data"
    with listening(base + offset):
        line = refusal("--id", "1", "--peers", f"1=127.0.0.1:{base + 1}", "--data-dir", str(data_dir))

    assert line.startswith(f"{flag}: cannot listen on 127.0.0.1:{base + offset}")
    assert not data_dir.exists(), "not even the directory was made"


def test_the_data_directory_of_another_node(formed: Formed) -> None:
    directory = formed.directories[2]
    before = picture(directory)

    line = refusal(*formed.flags(1, directory))

    assert f"{directory} belongs to node 2, this is node 1" in line
    assert picture(directory) == before


def test_the_data_directory_of_a_cluster_with_other_peers(formed: Formed) -> None:
    directory = formed.directories[1]
    before = picture(directory)
    base = free_base_port(nodes=3)
    others = ",".join(f"{i}=127.0.0.1:{base + 10 * i}" for i in (1, 2, 3))

    line = refusal("--id", "1", "--peers", others, "--data-dir", str(directory))

    assert "data directory of another cluster" in line
    assert formed.peers in line
    assert others in line
    assert picture(directory) == before


def test_a_directory_that_others_may_look_into(formed: Formed, copies: Formed) -> None:
    directory = copies.directories[1]
    directory.chmod(0o755)
    before = picture(directory)

    line = refusal(*formed.flags(1, directory))

    assert "has mode 0755" in line
    assert "must be 0700" in line
    assert picture(directory) == before


@pytest.mark.parametrize("there", ["a file", "a file as its parent"])
def test_a_data_directory_that_is_none(tmp_path: Path, there: str) -> None:
    file = tmp_path / "file"
    file.write_text("something else")
    directory = file if there == "a file" else file / "data"

    assert str(directory) in refusal("--data-dir", str(directory), *alone(free_base_port(nodes=1)))

    assert file.read_text() == "something else"


def test_a_directory_that_another_process_holds(tmp_path: Path) -> None:
    """That process is stopped meanwhile, so that whatever changes is the intruder's doing."""
    with running(tmp_path / "cluster", nodes=1) as cluster:
        process = cluster.process(1)
        assert process is not None
        cluster.pause(1)
        before = picture(cluster.node_dir(1))
        base = free_base_port(nodes=1)
        command = cluster._state().nodes[1].command
        peers = command[command.index("--peers") + 1]

        line = refusal(
            *("--id", "1", "--peers", peers, "--data-dir", str(cluster.node_dir(1))),
            *("--listen-client", f"127.0.0.1:{base}", "--listen-peer", f"127.0.0.1:{base + 1}"),
        )

        assert f"is in use by process {process.pid}" in line
        assert picture(cluster.node_dir(1)) == before
        cluster.resume(1)
        with Client(cluster.endpoint(1), timeout=WAIT_S) as client:
            client.put("key", "the first process goes on")


def test_a_flipped_bit_in_the_log(formed: Formed, copies: Formed) -> None:
    """SQLite does not see it and calls the database intact."""
    directory = copies.directories[1]
    with sqlite3.connect(directory / "acceptor.db") as connection:
        sequence, value = connection.execute(
            "SELECT sequence, value FROM records WHERE value IS NOT NULL ORDER BY sequence LIMIT 1 OFFSET 3"
        ).fetchone()
        flipped = bytes([value[0], value[1] ^ 1]) + value[2:] if len(value) > 1 else bytes([value[0] ^ 1])
        connection.execute("UPDATE records SET value = ? WHERE sequence = ?", (flipped, sequence))
    connection.close()
    before = picture(directory)

    line = refusal(*formed.flags(1, directory))

    assert f"record {sequence} of the acceptor log is corrupt: its checksum is 0x" in line
    assert "its content gives 0x" in line
    assert picture(directory) == before


@pytest.mark.parametrize("lost", ["acceptor.db", "high-water"])
def test_a_log_that_cannot_be_proved_whole(formed: Formed, copies: Formed, lost: str) -> None:
    directory = copies.directories[1]
    (directory / lost).unlink()
    before = picture(directory)

    line = refusal(*formed.flags(1, directory))

    assert "the acceptor log is not whole" in line
    assert "must not vote" in line
    assert picture(directory) == before


def test_a_state_that_is_none(formed: Formed, copies: Formed) -> None:
    """A log without trouble does not make up for a state that cannot be read: nobody guesses what was in it."""
    directory = copies.directories[1]
    (directory / "state.db").write_bytes(b"this is no database" * 100)

    line = refusal(*formed.flags(1, directory))

    assert "state" in line


def test_python_without_assertions() -> None:
    line = refusal(command=(sys.executable, "-O", "-m", "kvstore.server.main"))

    assert line.startswith("python -O removes the assertions")


def test_a_wiped_node(tmp_path: Path) -> None:
    """It may have promised what it does not know any more (L11). Its peers know that it was somebody else."""
    with running(tmp_path / "cluster") as cluster:
        cluster.terminate(3)
        shutil.rmtree(cluster.node_dir(3))
        command = cluster._state().nodes[3].command

        line = refusal(*command[len(KV_SERVER) :])

        assert line.startswith("this node's data directory was wiped or replaced: the cluster ")
        assert "knows node 3 by birth id " in line
        assert "this directory has " in line
        with Client(cluster.endpoint(1), timeout=WAIT_S) as client:
            client.put("key", "the others go on")


def test_the_data_directory_of_another_cluster_with_the_same_peers(tmp_path: Path) -> None:
    """From inside it looks right. The others know better, and go on without it."""
    with running(tmp_path / "cluster") as cluster:
        cluster.stop()
        for node_id in cluster.node_ids:
            cluster.node_dir(node_id).rename(tmp_path / f"former {node_id}")
        cluster.start()
        cluster.wait_serving(timeout_s=WAIT_S)
        command = cluster._state().nodes[3].command
        cluster.terminate(3)
        shutil.rmtree(cluster.node_dir(3))
        (tmp_path / "former 3").rename(cluster.node_dir(3))

        line = refusal(*command[len(KV_SERVER) :])

        assert line.startswith("data directory of another cluster: node 3 belongs to cluster ")
        assert re.search(r"cluster [0-9a-f]{16}, node [12] at 127\.0\.0\.1:\d+ to cluster [0-9a-f]{16}", line)
        with Client(cluster.endpoint(1), timeout=WAIT_S) as client:
            client.put("key", "the others go on")
        assert cluster.is_alive(1)
        assert cluster.is_alive(2)


def test_peers_that_were_told_different_things(tmp_path: Path) -> None:
    """Nodes that disagree about who belongs to the cluster never form one. Whoever hears of it first says so."""
    base = free_base_port(nodes=3)
    one = f"1=127.0.0.1:{base + 1},2=127.0.0.1:{base + 11}"
    other = f"1=127.0.0.1:{base + 1},2=127.0.0.1:{base + 11},3=127.0.0.1:{base + 21}"
    logs = [tmp_path / "1.log", tmp_path / "2.log"]
    with (
        started("--id", "1", "--peers", one, "--data-dir", str(tmp_path / "1"), log=logs[0]) as first,
        started("--id", "2", "--peers", other, "--data-dir", str(tmp_path / "2"), log=logs[1]) as second,
    ):
        assert wait_until(lambda: first.poll() is not None or second.poll() is not None, timeout_s=WAIT_S)
        ended = [log for log, process in zip(logs, (first, second), strict=True) if process.poll() is not None]
        assert {process.poll() for process in (first, second)} <= {None, 2}

    for log in ended:
        last = log.read_text().splitlines()[-1]
        assert last.startswith("kv-server: --peers differ: ")
        assert one in last
        assert other in last
    assert not any("ready to serve" in log.read_text() for log in logs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_node_with_status_0(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "log"
    base = free_base_port(nodes=1)
    with started(*alone(base), "--data-dir", str(tmp_path / "data"), log=log) as process:
        assert wait_until(
            lambda: f"ready to serve client requests on 127.0.0.1:{base}" in log.read_text(), timeout_s=WAIT_S
        )
        process.send_signal(number)

        assert process.wait(timeout=5) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_node_that_still_waits_for_its_peers(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "log"
    base = free_base_port(nodes=2)
    peers = f"1=127.0.0.1:{base + 1},2=127.0.0.1:{base + 11}"
    flags = ("--id", "1", "--peers", peers, "--data-dir", str(tmp_path / "data"), "--log-level", "debug")
    with started(*flags, log=log) as process:
        assert wait_until(lambda: "does not answer" in log.read_text(), timeout_s=WAIT_S)
        process.send_signal(number)

        assert process.wait(timeout=5) == 0
        assert f"node 2 at 127.0.0.1:{base + 11} does not answer" in log.read_text()


def alone(base: int) -> tuple[str, ...]:
    return ("--id", "1", "--peers", f"1=127.0.0.1:{base + 1}")


@contextmanager
def started(*arguments: str, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        process = subprocess.Popen([*KV_SERVER, *arguments], stderr=output, env=environment())
    try:
        yield process
    finally:
        process.kill()
        process.wait()
