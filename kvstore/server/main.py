"""``kv-server``: reads what it is told, refuses what is wrong with one clear line and status 2, and runs one node."""

import asyncio
import sys
from typing import Any

import click

from kvstore.server.assembly import serve
from kvstore.server.config import ConfigError, ServerConfig, load_toml
from kvstore.server.failpoints import parse as parse_failpoints  # noqa: F401  a bad KV_FAILPOINTS fails here
from kvstore.server.logs import LogFormat, configure
from kvstore.storage.errors import StorageError

__all__ = ["main"]

EXIT_REFUSED = 2

EPILOG = """\b
Examples:
  kv-server
      a single node on 127.0.0.1:2379
  kv-server --id 1 --peers 1=127.0.0.1:2380,2=127.0.0.1:2390,3=127.0.0.1:2400
      the first of three; its clients come to 127.0.0.1:2379
  kv-server --config node1.toml
      the same from a file: id = 1, peers = "1=…,2=…,3=…"

Every flag is also an environment variable: --data-dir is KV_DATA_DIR. A flag wins over the environment, which wins
over the file."""


def _load_config(context: click.Context, _parameter: click.Parameter, path: str | None) -> str | None:
    if path is None:
        return None
    from pathlib import Path  # noqa: PLC0415

    try:
        settings = load_toml(Path(path))
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    known = {parameter.name for parameter in context.command.params}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise click.UsageError(
            f"--config {path}: unknown setting {unknown[0]!r}; known: {', '.join(sorted(filter(None, known)))}"
        )
    context.default_map = {**settings, **(context.default_map or {})}
    return path


@click.command(epilog=EPILOG, context_settings={"auto_envvar_prefix": "KV", "help_option_names": ["-h", "--help"]})
@click.option("--config", metavar="FILE", is_eager=True, callback=_load_config, help="TOML file with these settings.")
@click.option("--id", "id", type=int, help="This node's number in --peers, from 1.")
@click.option("--peers", metavar="ID=HOST:PORT,…", help="Every node of the cluster with its peer address.")
@click.option("--listen-client", metavar="HOST:PORT", help="Where clients connect.  [default: own peer port - 1]")
@click.option("--listen-peer", metavar="HOST:PORT", help="Where other nodes connect.  [default: own entry in --peers]")
@click.option("--advertise-client", metavar="URL", help="What clients are told.  [default: http://LISTEN_CLIENT]")
@click.option("--data-dir", metavar="DIR", help="The node's data, made 0700.  [default: kv-data/ID]")
@click.option("--heartbeat-ms", type=int, default=100, show_default=True, help="How often a leader is heard.")
@click.option("--election-timeout-ms", type=int, default=1000, show_default=True, help="Silence before it is doubted.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    show_default=True,
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.version_option(package_name="kvstore", message="%(prog)s %(version)s")
def main(
    *,
    id: int | None,
    log_level: str,
    log_format: LogFormat,
    config: str | None,
    **settings: Any,  # noqa: A002, ARG001
) -> None:
    """One replica of a key-value store that agrees by Multi-Paxos and speaks the etcd v3 API."""
    if sys.flags.optimize:
        _refuse("python -O removes the assertions that stop a wrong replica; start kv-server without it")
    try:
        built = ServerConfig.build(node_id=id, **settings)
    except ConfigError as error:
        _refuse(str(error))
    configure(level=log_level, log_format=log_format, node_id=built.node_id)
    try:
        asyncio.run(serve(built))
    except (ConfigError, StorageError) as error:
        _refuse(str(error))


def _refuse(line: str) -> None:
    click.echo(f"kv-server: {line}", err=True)
    sys.exit(EXIT_REFUSED)


if __name__ == "__main__":
    main()
