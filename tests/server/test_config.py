"""What a node is told: what follows from it where nothing was said, and what is refused, naming both values."""

from pathlib import Path
from typing import Any

import pytest

from kvstore.server.config import Address, ConfigError, ServerConfig, load_toml, parse_peers

THREE = "1=127.0.0.1:2380,2=127.0.0.1:2390,3=127.0.0.1:2400"


def build(**said: Any) -> ServerConfig:
    unsaid: dict[str, Any] = dict.fromkeys(
        ("node_id", "peers", "listen_client", "listen_peer", "advertise_client", "data_dir")
    )
    return ServerConfig.build(**{**unsaid, "heartbeat_ms": 100, "election_timeout_ms": 1000, **said})


def refused(**said: Any) -> str:
    with pytest.raises(ConfigError) as error:
        build(**said)
    line = str(error.value)
    assert "\n" not in line
    return line


def test_nothing_said_is_a_single_node_on_2379() -> None:
    config = build()

    assert config.node_id == 1
    assert config.peers == {1: Address("127.0.0.1", 2380)}
    assert config.listen_client == Address("127.0.0.1", 2379)
    assert config.listen_peer == Address("127.0.0.1", 2380)
    assert config.advertise_client == "http://127.0.0.1:2379"
    assert config.data_dir == Path("kv-data/1")


@pytest.mark.parametrize(("node_id", "port"), [(1, 2379), (2, 2389), (3, 2399)])
def test_id_and_peers_alone_say_everything(node_id: int, port: int) -> None:
    config = build(node_id=node_id, peers=THREE)

    assert config.listen_client == Address("127.0.0.1", port)
    assert config.listen_peer == Address("127.0.0.1", port + 1)
    assert config.advertise_client == f"http://127.0.0.1:{port}"
    assert config.data_dir == Path(f"kv-data/{node_id}")


def test_what_is_said_counts() -> None:
    config = build(
        node_id=2,
        peers=THREE,
        listen_client="0.0.0.0:5001",
        listen_peer="0.0.0.0:5002",
        advertise_client="http://kv.example:5001",
        data_dir="/srv/kv",
        heartbeat_ms=10,
        election_timeout_ms=30,
    )

    assert str(config.listen_client) == "0.0.0.0:5001"
    assert str(config.listen_peer) == "0.0.0.0:5002"
    assert config.advertise_client == "http://kv.example:5001"
    assert config.data_dir == Path("/srv/kv")
    assert (config.heartbeat_ms, config.election_timeout_ms) == (10, 30)


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ({"node_id": 2}, ["--id 2", "--peers"]),
        ({"peers": THREE}, ["1, 2, 3", "--id"]),
        ({"node_id": 4, "peers": THREE}, ["--id 4", "1, 2, 3"]),
        ({"node_id": 1, "peers": ""}, ["--peers", "no node"]),
        ({"node_id": 1, "peers": "1"}, ["'1'", "ID=HOST:PORT"]),
        ({"node_id": 1, "peers": "0=a:1"}, ["'0=a:1'", "an ID from 1"]),
        ({"node_id": 1, "peers": "1=a"}, ["'a'", "HOST:PORT"]),
        ({"node_id": 1, "peers": "1=a:0"}, ["'a:0'", "1 to 65535"]),
        ({"node_id": 1, "peers": "1=a:65536"}, ["'a:65536'", "1 to 65535"]),
        ({"node_id": 1, "peers": "1=a:1:2"}, ["'a:1:2'", "HOST:PORT"]),
        ({"node_id": 1, "peers": "1=a:1,1=b:2"}, ["node 1 is named twice", "a:1", "b:2"]),
        ({"node_id": 1, "peers": "1=a:1,2=a:1"}, ["nodes 1 and 2", "a:1"]),
        ({"node_id": 1, "peers": "1=a:1"}, ["--listen-client", "peer port 1"]),
        ({"node_id": 1, "peers": THREE, "listen_client": "2379"}, ["--listen-client", "'2379'"]),
        ({"node_id": 1, "peers": THREE, "listen_peer": "a b:1"}, ["--listen-peer", "'a b:1'"]),
        (
            {"node_id": 1, "peers": THREE, "listen_client": "127.0.0.1:2380"},
            ["--listen-client and --listen-peer", "2380"],
        ),
        ({"heartbeat_ms": 0}, ["--heartbeat-ms (0)"]),
        ({"heartbeat_ms": 400}, ["--election-timeout-ms (1000)", "--heartbeat-ms (400)"]),
    ],
)
def test_what_cannot_be_is_refused_with_both_values(said: dict[str, Any], values: list[str]) -> None:
    line = refused(**said)

    for value in values:
        assert value in line


def test_peers_come_in_the_order_of_their_ids_and_may_have_spaces() -> None:
    assert list(parse_peers(" 2=b:2 , 1=[::1]:1,")) == [1, 2]
    assert str(parse_peers("1=[::1]:1")[1]) == "[::1]:1"  # type: ignore[index]


def test_a_configuration_file_may_write_names_with_dashes_and_peers_as_a_table(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text('id = 1\ndata-dir = "/srv/kv"\nheartbeat_ms = 50\n[peers]\n1 = "a:1"\n2 = "b:2"\n')

    assert load_toml(file) == {"id": 1, "data_dir": "/srv/kv", "heartbeat_ms": 50, "peers": "1=a:1,2=b:2"}


@pytest.mark.parametrize("content", [b"id = ", b"= 3", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "node.toml"
    file.write_bytes(content)

    with pytest.raises(ConfigError, match=f"--config {file}: not TOML: "):
        load_toml(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"--config {tmp_path}/none: No such file"):
        load_toml(tmp_path / "none")
