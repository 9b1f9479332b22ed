"""kv-server's command line: where settings come from, which one wins, and how it says no.

``serve`` is replaced by a recorder where a story is about what it is given: everything before it runs as it is.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kvstore.server import failpoints, main
from kvstore.server.config import ServerConfig

PEERS = "1=127.0.0.1:2380,2=127.0.0.1:2390,3=127.0.0.1:2400"


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No variable of ours is set, and afterwards: nothing was written, logging and failpoints are as before."""
    for name in [name for name in os.environ if name.startswith("KV_")]:
        monkeypatch.delenv(name)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    failpoints.arm("")
    assert list(elsewhere.iterdir()) == []


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServerConfig]:
    """The configurations that nodes were run with."""
    configs: list[ServerConfig] = []

    async def serve(config: ServerConfig) -> None:
        configs.append(config)

    monkeypatch.setattr(main, "serve", serve)
    return configs


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["kv-server", *arguments])
    with pytest.raises(SystemExit) as ended:
        main.main()
    return ended.value.code


class TestWhereSettingsComeFrom:
    def test_no_flags_at_all(self, monkeypatch: pytest.MonkeyPatch, served: list[ServerConfig]) -> None:
        assert run(monkeypatch) in {0, None}

        assert str(served[0].listen_client) == "127.0.0.1:2379"

    def test_a_flag_wins_over_the_environment_and_that_over_the_file(
        self, monkeypatch: pytest.MonkeyPatch, served: list[ServerConfig], tmp_path: Path
    ) -> None:
        file = tmp_path / "node.toml"
        file.write_text(
            f'id = 1\npeers = "{PEERS}"\nheartbeat-ms = 11\nelection-timeout-ms = 1111\nadvertise-client = "http://file"\n'
        )
        monkeypatch.setenv("KV_ELECTION_TIMEOUT_MS", "2222")
        monkeypatch.setenv("KV_ADVERTISE_CLIENT", "http://environment")

        run(monkeypatch, "--config", str(file), "--advertise-client", "http://flag")

        (config,) = served
        assert config.heartbeat_ms == 11, "the file's, nobody else says"
        assert config.election_timeout_ms == 2222, "the environment's"
        assert config.advertise_client == "http://flag"

    def test_every_flag_is_a_variable(self, monkeypatch: pytest.MonkeyPatch, served: list[ServerConfig]) -> None:
        settings = {
            "KV_ID": "2",
            "KV_PEERS": PEERS,
            "KV_LISTEN_CLIENT": "127.0.0.1:1111",
            "KV_LISTEN_PEER": "127.0.0.1:2222",
            "KV_ADVERTISE_CLIENT": "http://somewhere",
            "KV_DATA_DIR": "data",
            "KV_HEARTBEAT_MS": "7",
            "KV_ELECTION_TIMEOUT_MS": "77",
            "KV_LOG_LEVEL": "error",
            "KV_LOG_FORMAT": "json",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)

        run(monkeypatch)

        (config,) = served
        assert config.node_id == 2
        assert (str(config.listen_client), str(config.listen_peer)) == ("127.0.0.1:1111", "127.0.0.1:2222")
        assert (config.advertise_client, config.data_dir) == ("http://somewhere", Path("data"))
        assert (config.heartbeat_ms, config.election_timeout_ms) == (7, 77)
        assert logging.getLogger().level == logging.ERROR

    def test_the_file_may_be_named_by_a_variable(
        self, monkeypatch: pytest.MonkeyPatch, served: list[ServerConfig], tmp_path: Path
    ) -> None:
        file = tmp_path / "node.toml"
        file.write_text("heartbeat_ms = 33\n")
        monkeypatch.setenv("KV_CONFIG", str(file))

        run(monkeypatch)

        assert served[0].heartbeat_ms == 33


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], served: list[ServerConfig]
) -> Callable[..., str]:
    """Runs kv-server, which must refuse, and returns its one line."""

    def refused(*arguments: str, **environment: str) -> str:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert run(monkeypatch, *arguments) == 2
        said = capsys.readouterr()
        (line,) = said.err.splitlines()
        assert line.startswith("kv-server: ")
        assert (said.out, served) == ("", [])
        return line

    return refused


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--nonsense"], ["No such option", "--nonsense"]),
            (["extra"], ["unexpected extra argument", "extra"]),
            (["--id"], ["--id", "requires an argument"]),
            (["--id", "x"], ["--id", "'x' is not a valid integer"]),
            (["--id", "2"], ["--id 2 needs --peers"]),
            (["--peers", PEERS], ["nodes 1, 2, 3", "--id"]),
            (["--id", "4", "--peers", PEERS], ["--id 4 is not in --peers", "1, 2, 3"]),
            (["--log-level", "loud"], ["'loud'", "'debug', 'info', 'warning', 'error'"]),
            (["--log-format", "xml"], ["'xml'", "'text', 'json'"]),
            (["--heartbeat-ms", "1.5"], ["--heartbeat-ms", "'1.5'"]),
            (["--config", "none.toml"], ["--config none.toml", "No such file"]),
        ],
    )
    def test_flags(self, refused: Callable[..., str], arguments: list[str], words: list[str]) -> None:
        line = refused(*arguments)

        assert [word for word in words if word not in line] == []

    @pytest.mark.parametrize(
        ("variable", "value", "words"),
        [
            ("KV_ID", "x", ["'x' is not a valid integer", "KV_ID"]),
            ("KV_HEARTBEAT_MS", "often", ["'often'", "KV_HEARTBEAT_MS"]),
            ("KV_LOG_FORMAT", "xml", ["'xml'", "KV_LOG_FORMAT"]),
            ("KV_PEERS", "nobody", ["--peers", "'nobody'"]),
            ("KV_FAILPOINTS", "commit=1", ["KV_FAILPOINTS", "'commit=1'", "commit.before"]),
            ("KV_FAILPOINTS", "commit.after=0", ["KV_FAILPOINTS", "'commit.after=0'"]),
        ],
    )
    def test_variables(self, refused: Callable[..., str], variable: str, value: str, words: list[str]) -> None:
        line = refused(**{variable: value})

        assert [word for word in words if word not in line] == []

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("id = ", ["not TOML"]),
            ("speed = 3", ["unknown setting 'speed'", "heartbeat_ms"]),
            ('id = "x"', ["'x' is not a valid integer", "--config"]),
            ("id = [1]", ["id is [1]"]),
            ("id = true", ["id is True"]),
            ("heartbeat-ms = 1.5", ["heartbeat_ms is 1.5"]),
            ('config = "another.toml"', ["unknown setting 'config'"]),
        ],
    )
    def test_files(self, refused: Callable[..., str], tmp_path: Path, content: str, words: list[str]) -> None:
        file = tmp_path / "node.toml"
        file.write_text(content)

        line = refused("--config", str(file))

        assert [word for word in words if word not in line] == []


def test_help_has_examples_and_every_flag(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--help") == 0

    said = capsys.readouterr().out
    assert "kv-server --id 1 --peers 1=127.0.0.1:2380" in said
    for flag in ("--listen-client", "--listen-peer", "--advertise-client", "--data-dir", "--config", "--log-format"):
        assert flag in said


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0

    assert capsys.readouterr().out.startswith("kv-server 0.")


def test_json_logs_are_one_object_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], served: list[ServerConfig]
) -> None:
    run(monkeypatch, "--log-format", "json")
    logger = logging.getLogger("kvstore.test")
    logger.info("two\nlines and %s", "ümläuts")
    try:
        raise ValueError("on purpose")
    except ValueError:
        logger.exception("it failed")

    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("info", "kvstore.test", "two\nlines and ümläuts")
    assert first["node"] == 1
    assert second["exception"].endswith("ValueError: on purpose")


def test_text_logs_name_the_node(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], served: list[ServerConfig]
) -> None:
    run(monkeypatch, "--id", "2", "--peers", PEERS, "--log-level", "WARNING")
    logger = logging.getLogger("kvstore.test")
    logger.info("not this")
    logger.warning("but this")

    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("WARNING node 2 kvstore.test: but this")
