"""``kv-server``: reads what it is told, refuses what is wrong with one clear line and status 2, and runs one node."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

import click
from click.core import ParameterSource

from kvstore.mvcc.errors import StateUnusable
from kvstore.server import failpoints
from kvstore.server.assembly import FormationFailed, serve
from kvstore.server.config import ConfigError, ServerConfig, load_toml
from kvstore.server.logs import LogFormat, configure
from kvstore.storage.errors import StorageError

__all__ = ["EXIT_REFUSED", "main"]

EXIT_REFUSED: Final = 2

EPILOG: Final = """\b
Examples:
  kv-server
      a single node on 127.0.0.1:2379
  kv-server --id 1 --peers 1=127.0.0.1:2380,2=127.0.0.1:2390,3=127.0.0.1:2400
      the first of three; its clients come to 127.0.0.1:2379
  kv-server --config node1.toml
      the same from a file: id = 1, peers = "1=…,2=…,3=…"

Every flag is also an environment variable: --data-dir is KV_DATA_DIR. A flag wins over the environment, which wins
over the file. The status is 0 after SIGTERM or SIGINT, 2 where something told or found is wrong and nothing was
touched, 1 where the node had to stop."""


def _load_config(context: click.Context, _parameter: click.Parameter, path: str | None) -> None:
    if path is None:
        return
    settings = load_toml(Path(path))
    known = sorted(str(p.name) for p in context.command.params if p.expose_value)
    for name in settings:
        if name not in known:
            raise ConfigError(f"--config {path}: unknown setting {name!r}; known: {', '.join(known)}")
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ConfigError(f"--config {path}: {name} is {value!r}; a setting is a text or a whole number")
    context.default_map = {**settings, **(context.default_map or {})}


@click.command(epilog=EPILOG, context_settings={"auto_envvar_prefix": "KV", "help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_load_config,
    help="TOML file with these settings.",
)
@click.option("--id", type=int, help="This node's number in --peers, from 1.")
@click.option("--peers", metavar="ID=HOST:PORT,…", help="Every node of the cluster with its peer address.")
@click.option("--listen-client", metavar="HOST:PORT", help="Where clients connect.  [default: own peer port - 1]")
@click.option("--listen-peer", metavar="HOST:PORT", help="Where other nodes connect.  [default: own entry in --peers]")
@click.option("--advertise-client", metavar="URL", help="What clients are told.  [default: http://LISTEN_CLIENT]")
@click.option("--data-dir", metavar="DIR", help="The node's data, made 0700.  [default: kv-data/ID]")
@click.option("--heartbeat-ms", type=int, default=100, show_default=True, help="How often a leader is heard.")
@click.option("--election-timeout-ms", type=int, default=1000, show_default=True, help="Silence before it is doubted.")
@click.option(
    "--read-mode",
    type=click.Choice(["quorum", "lease"]),
    default="quorum",
    show_default=True,
    help="How a leader makes sure that it still leads before it answers a linearizable read: a quorum confirms it, or "
    "a lease of half an election timeout, which is safe as long as two nodes' clocks drift apart by less than a tenth. "
    "The same on all nodes, fixed when the cluster forms.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    show_default=True,
    help="What is told on standard error.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="One line for people, or one JSON object a line.",
)
@click.version_option(package_name="kvstore", message="%(prog)s %(version)s")
def command(*, log_level: str, log_format: LogFormat, **settings: Any) -> None:
    """One replica of a key-value store that agrees by Multi-Paxos and speaks the etcd v3 API."""
    config = ServerConfig.build(node_id=settings.pop("id"), **settings)
    try:
        failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    configure(level=log_level, log_format=log_format, node_id=config.node_id)
    asyncio.run(serve(config))


def main() -> None:
    """The entry point. Always exits."""
    if sys.flags.optimize:
        _refuse("python -O removes the assertions that stop a wrong replica; start kv-server without it")
    try:
        sys.exit(command.main(prog_name="kv-server", standalone_mode=False))
    except click.ClickException as error:
        _refuse(error.format_message() + _origin(error))
    except (ConfigError, StorageError, StateUnusable, FormationFailed) as error:
        _refuse(str(error))


def _origin(error: click.ClickException) -> str:
    """Where a wrong value was said, unless by a flag: the message names the flag alone."""
    if not isinstance(error, click.BadParameter) or error.ctx is None or error.param is None:
        return ""
    name = str(error.param.name)
    source = error.ctx.get_parameter_source(name)
    if source is ParameterSource.ENVIRONMENT:
        return f" ({error.ctx.auto_envvar_prefix}_{name.upper()} says so)"
    return " (the --config file says so)" if source is ParameterSource.DEFAULT_MAP else ""


def _refuse(line: str) -> NoReturn:
    click.echo(f"kv-server: {line}", err=True)
    sys.exit(EXIT_REFUSED)


if __name__ == "__main__":
    main()
