"""One node in this process, with everything that it has in earnest: disk, ports, replica, API."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from kvclient import AsyncClient, KvError

from kvstore.server import assembly
from kvstore.server.assembly import Server, serve
from kvstore.server.config import ConfigError, ServerConfig
from kvstore.server.ports import free_base_port, is_free
from kvstore.server.processes import wait_until


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    """A node alone."""
    return ServerConfig.build(
        node_id=1,
        peers=f"1=127.0.0.1:{free_base_port(nodes=1) + 1}",
        listen_client=None,
        listen_peer=None,
        advertise_client=None,
        data_dir=str(tmp_path / "data"),
        heartbeat_ms=20,
        election_timeout_ms=100,
    )


def test_a_node_alone_serves_publishes_itself_and_stops_twice(config: ServerConfig) -> None:
    async def story() -> None:
        server = Server(config)
        try:
            await server.start()
            async with AsyncClient(str(config.listen_client), timeout=30) as client:
                assert (await client.put("key", "value")).revision == 2
                async with asyncio.timeout(30):
                    while not (await client.members())[0].name:
                        pass
                (member,) = await client.members()
        finally:
            await server.stop()
        assert (member.name, member.client_urls) == ("node1", (f"http://{config.listen_client}",))
        await server.stop()
        assert not server.failure.done()
        assert is_free(str(config.listen_client))
        assert is_free(str(config.listen_peer))

    asyncio.run(story())


def test_what_one_process_wrote_the_next_one_has(config: ServerConfig) -> None:
    async def story(*, key: str, expected: bytes | None) -> None:
        server = Server(config)
        try:
            await server.start()
            async with AsyncClient(str(config.listen_client), timeout=30) as client:
                found = await client.get("key 1")
                assert (found and found.value) == expected
                await client.put(key, "value")
        finally:
            await server.stop()

    asyncio.run(story(key="key 1", expected=None))
    asyncio.run(story(key="key 2", expected=b"value"))


@pytest.mark.parametrize("flag", ["--listen-client", "--listen-peer"])
def test_a_port_that_is_taken_after_it_was_found_free_is_named(
    config: ServerConfig, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    monkeypatch.setattr(assembly, "is_free", lambda _address: True)
    address = config.listen_client if flag == "--listen-client" else config.listen_peer

    async def story() -> None:
        server = Server(config)
        with pytest.raises(ConfigError, match=f"^{flag}: cannot listen .*{address}"):
            await server.start()
        await server.stop()

    with socket.create_server((address.host, address.port)):
        asyncio.run(story())


def test_serve_returns_when_it_is_told_to_stop(config: ServerConfig) -> None:
    async def story() -> None:
        serving = asyncio.ensure_future(serve(config))
        async with AsyncClient(str(config.listen_client), timeout=30) as client:
            async with asyncio.timeout(30):
                while not (await client.status())[0].leader:
                    pass
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(30):
            await serving

    asyncio.run(story())


def test_a_log_that_cannot_be_written_ends_the_process_at_once(tmp_path: Path) -> None:
    """Status 1 and a last word: no handler runs, nothing is answered that may not be durable."""
    base = free_base_port(nodes=1)
    log = tmp_path / "log"
    program = (
        "import sys; from kvstore.storage import SqliteAcceptorLog; from kvstore.storage.errors import LogWriteFailed\n"
        "real = SqliteAcceptorLog.append\n"
        "def append(self, write):\n"
        "    if self.stats().commits > 5: raise LogWriteFailed('acceptor.db', why='the disk is gone')\n"
        "    real(self, write)\n"
        "SqliteAcceptorLog.append = append\n"
        "from kvstore.server.main import main; main()\n"
    )
    flags = ["--id", "1", "--peers", f"1=127.0.0.1:{base + 1}", "--data-dir", str(tmp_path / "data")]
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-c", program, *flags, "--log-format", "json"], stderr=output)

    async def write_on() -> None:
        async with AsyncClient(f"127.0.0.1:{base}", timeout=5) as client:
            for number in range(100):
                await client.put("key", str(number))

    try:
        assert wait_until(lambda: "ready to serve" in log.read_text(), timeout_s=60)
        with pytest.raises(KvError):
            asyncio.run(write_on())
        assert process.wait(timeout=30) == 1
    finally:
        process.kill()
        process.wait()
    last = json.loads(log.read_text().splitlines()[-1])
    assert last["level"] == "critical"
    assert "the disk is gone" in last["message"]
