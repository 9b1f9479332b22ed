"""What a node is told when it starts, by flags, ``KV_…`` variables and a TOML file: checked before anything runs."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvstore.paxos.types import NodeId

__all__ = ["Address", "ConfigError", "ServerConfig", "load_toml", "parse_peers"]

DEFAULT_PEER_PORT = 2380
NODE_ID_MAX = 2**31 - 1


class ConfigError(Exception):
    """One clear line, naming both values where two disagree. The process exits with status 2, nothing touched."""


@dataclass(frozen=True, slots=True)
class Address:
    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, what: str) -> "Address":
        """``HOST:PORT`` or ``[IPV6]:PORT``."""
        match = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\s\[\]]+):(\d{1,5})", text.strip())
        if not match or not 0 < int(match[2]) < 65536:
            raise ConfigError(f"{what}: {text!r} is not HOST:PORT with a port from 1 to 65535")
        return cls(match[1], int(match[2]))

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_peers(text: str) -> dict[NodeId, Address]:
    """``1=HOST:PORT,2=HOST:PORT``, in the order of the ids."""
    peers: dict[NodeId, Address] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        number, equals, address = part.partition("=")
        if not equals or not number.strip().isdigit() or not 0 < int(number) <= NODE_ID_MAX:
            raise ConfigError(f"--peers: {part!r} is not ID=HOST:PORT with an ID from 1 to {NODE_ID_MAX}")
        node_id = NodeId(int(number))
        if node_id in peers:
            raise ConfigError(f"--peers: node {node_id} is named twice, as {peers[node_id]} and as {address}")
        peers[node_id] = Address.parse(address, what="--peers")
    by_address: dict[Address, NodeId] = {}
    for node_id, peer in peers.items():
        if peer in by_address:
            raise ConfigError(f"--peers: nodes {by_address[peer]} and {node_id} have the same address, {peer}")
        by_address[peer] = node_id
    if not peers:
        raise ConfigError("--peers: no node is named; write for example 1=127.0.0.1:2380")
    return dict(sorted(peers.items()))


def load_toml(path: Path) -> dict[str, Any]:
    """The settings of a configuration file: the long flags' names, with dashes or underscores."""
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"--config {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: not TOML: {error}") from error
    peers = settings.get("peers")
    if isinstance(peers, Mapping):
        settings["peers"] = ",".join(f"{node_id}={address}" for node_id, address in peers.items())
    return {name.replace("-", "_"): value for name, value in settings.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    node_id: NodeId
    peers: dict[NodeId, Address]
    listen_client: Address
    listen_peer: Address
    advertise_client: str
    data_dir: Path
    heartbeat_ms: int
    election_timeout_ms: int
    lease_ms: int = 0
    """0: reads are confirmed by a quorum."""

    @classmethod
    def build(
        cls,
        *,
        node_id: int | None,
        peers: str | None,
        listen_client: str | None,
        listen_peer: str | None,
        advertise_client: str | None,
        data_dir: str | None,
        heartbeat_ms: int,
        election_timeout_ms: int,
        read_mode: str = "quorum",
    ) -> "ServerConfig":
        """Fills in what was not said. Raises ConfigError."""
        if peers is None:
            if node_id is not None and node_id != 1:
                raise ConfigError(f"--id {node_id} needs --peers, which names every node of the cluster and this one")
            peers = f"1=127.0.0.1:{DEFAULT_PEER_PORT}"
            node_id = 1
        members = parse_peers(peers)
        if node_id is None:
            raise ConfigError(f"--peers names the nodes {_names(members)}; --id must say which of them this is")
        me = NodeId(node_id)
        if me not in members:
            raise ConfigError(f"--id {node_id} is not in --peers, which names the nodes {_names(members)}")
        own = members[me]
        if listen_client is None:
            if own.port == 1:
                raise ConfigError(f"--listen-client is needed: no port lies below the peer port {own.port}")
            client = Address(own.host, own.port - 1)
        else:
            client = Address.parse(listen_client, what="--listen-client")
        peer = Address.parse(listen_peer, what="--listen-peer") if listen_peer else own
        if client == peer:
            raise ConfigError(f"--listen-client and --listen-peer are both {client}; each needs a port of its own")
        if heartbeat_ms < 1 or election_timeout_ms < 3 * heartbeat_ms:
            raise ConfigError(
                f"--election-timeout-ms ({election_timeout_ms}) must be at least three times "
                f"--heartbeat-ms ({heartbeat_ms}), which must be at least 1"
            )
        return cls(
            node_id=me,
            peers=members,
            listen_client=client,
            listen_peer=peer,
            advertise_client=advertise_client or f"http://{client}",
            data_dir=Path(data_dir) if data_dir else Path("kv-data") / str(me),
            heartbeat_ms=heartbeat_ms,
            election_timeout_ms=election_timeout_ms,
            lease_ms=election_timeout_ms // 2 if read_mode == "lease" else 0,
        )


def _names(peers: Mapping[NodeId, Address]) -> str:
    return ", ".join(str(node_id) for node_id in peers)
