"""kv-cluster: a local cluster in the foreground, and the means to hurt it from another terminal.

Only words and exit codes live here; what is done is in ``local_cluster``. Exit codes: 0 done, 1 it could not be done
(one line says why), 2 wrong usage.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kvstore.server.cluster_state import ClusterError
from kvstore.server.local_cluster import Condition, Health, LocalCluster
from kvstore.server.processes import is_alive, send, wait_until

__all__ = ["cli", "main"]

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_EVERY_S: Final = 0.2
_DOWN_S: Final = 20.0

_console = Console(highlight=False, soft_wrap=True)


class _Cli(click.Group):
    """Shows a ClusterError as click shows its own errors."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ClusterError as error:
            raise click.ClickException(str(error)) from error


_data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("kv-data"),
    show_default=True,
    envvar="KV_CLUSTER_DATA_DIR",
    show_envvar=True,
    help="Where the nodes' data, their logs and the cluster's state file are.",
)
_node_id = click.argument("node_id", metavar="ID", type=click.IntRange(min=1))


@click.group(
    cls=_Cli,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  kv-cluster up                     three nodes on ports 2379, 2389 and 2399
  kv-cluster status                 from another terminal: who lives, who serves
  kv-cluster kill 1                 node 1 crashes (SIGKILL)
  kv-cluster restart 1              and comes back with its data
  kv-cluster down                   stop what `up` started""",
)
@click.version_option(package_name="kvstore", prog_name="kv-cluster")
def cli() -> None:
    """Run a cluster of kv-server nodes on this machine, and make things happen to it."""


@cli.command(
    epilog="""\b
Examples:
  kv-cluster up
  kv-cluster up --nodes 5 --base-port 12379 --data-dir /tmp/five
  kv-cluster up -- --log-level debug --election-timeout-ms 500""",
)
@click.option("--nodes", type=click.IntRange(1, 9), default=3, show_default=True, help="How many nodes.")
@click.option(
    "--base-port",
    type=click.IntRange(1, 65535),
    default=2379,
    show_default=True,
    help="Client port of node 1; node i has this + 10 · (i - 1), and the next port for its peers.",
)
@_data_dir
@click.argument("server_flags", metavar="[-- SERVER_FLAGS]", nargs=-1, type=click.UNPROCESSED)
def up(*, nodes: int, base_port: int, data_dir: Path, server_flags: tuple[str, ...]) -> None:
    """Start a cluster and keep it in the foreground until Ctrl-C.

    Prints the clients' endpoints when every node serves. A node that dies stays dead until `kv-cluster restart`.
    Everything after -- goes to every node's kv-server. The data stay in the data directory: the next `up` goes on
    with them.
    """
    cluster = LocalCluster(data_dir, nodes=nodes, base_port=base_port, server_flags=server_flags)
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)
    with _undisturbed():
        cluster.start()
    try:
        cluster.wait_serving()
        _console.print(f"{nodes} nodes are up; their logs are in {escape(str(data_dir))}")
        for node_id in cluster.node_ids:
            _console.print(f"  node {node_id}  [bold]{cluster.endpoint(node_id)}[/bold]")
        _console.print(f"export KV_ENDPOINTS={','.join(cluster.endpoints)}")
        _console.print("Ctrl-C stops them.")
        _tell_of_changes(cluster)
    except KeyboardInterrupt:
        _console.print("stopping")
    finally:
        with _undisturbed():
            stubborn = cluster.stop()
        for node_id in stubborn:
            _console.print(f"node {node_id} did not stop in time and was killed")


@cli.command(epilog="\b\nExample:\n  kv-cluster kill 2")
@_node_id
@_data_dir
def kill(*, node_id: int, data_dir: Path) -> None:
    """Kill node ID with SIGKILL, as a crash would."""
    LocalCluster.attach(data_dir).kill(node_id)
    _console.print(f"node {node_id} is dead")


@cli.command(epilog="\b\nExample:\n  kv-cluster restart 2")
@_node_id
@_data_dir
def restart(*, node_id: int, data_dir: Path) -> None:
    """Start node ID again with the same flags; one that runs is stopped first."""
    cluster = LocalCluster.attach(data_dir)
    cluster.restart(node_id)
    cluster.wait_ready(node_id)
    _console.print(f"node {node_id} is ready on {cluster.endpoint(node_id)}")


@cli.command(epilog="\b\nExample:\n  kv-cluster pause 2; sleep 5; kv-cluster resume 2")
@_node_id
@_data_dir
def pause(*, node_id: int, data_dir: Path) -> None:
    """Stop node ID in its tracks with SIGSTOP; its connections stay open."""
    LocalCluster.attach(data_dir).pause(node_id)
    _console.print(f"node {node_id} is paused")


@cli.command(epilog="\b\nExample:\n  kv-cluster resume 2")
@_node_id
@_data_dir
def resume(*, node_id: int, data_dir: Path) -> None:
    """Let a paused node ID go on."""
    LocalCluster.attach(data_dir).resume(node_id)
    _console.print(f"node {node_id} goes on")


@cli.command(epilog="\b\nExample:\n  kv-cluster status --data-dir /tmp/five")
@_data_dir
def status(*, data_dir: Path) -> None:
    """Show every node's process and what it says of its health.

    A node serves while it knows a leader.
    """
    table = Table("node", "endpoint", "pid", "process", "health")
    colors = {Condition.RUNNING: "green", Condition.PAUSED: "yellow", Condition.DEAD: "red"}
    for node in LocalCluster.attach(data_dir).look():
        color = colors[node.condition]
        health = "-" if node.condition is not Condition.RUNNING else _health_words(node.health)
        pid = "-" if node.pid is None else str(node.pid)
        table.add_row(str(node.node_id), node.endpoint, pid, f"[{color}]{node.condition.value}[/{color}]", health)
    _console.print(table)


@cli.command(epilog="\b\nExample:\n  kv-cluster down")
@_data_dir
def down(*, data_dir: Path) -> None:
    """Stop the whole cluster, as Ctrl-C in the terminal of `up` does. The data stay."""
    cluster = LocalCluster.attach(data_dir)
    supervisor = cluster.supervisor()
    if send(supervisor, signal.SIGTERM) and not wait_until(lambda: not is_alive(supervisor), timeout_s=_DOWN_S):
        raise ClusterError(f"kv-cluster up (process {supervisor.pid}) still lives {_DOWN_S:g} s after SIGTERM")
    # Left over where `up` itself was killed.
    cluster.stop()
    _console.print("the cluster is down")


def main() -> None:
    cli(prog_name="kv-cluster")


def _tell_of_changes(cluster: LocalCluster) -> None:
    """Forever: say when a node dies and when somebody has restarted it. Looking also reaps the dead."""
    seen = {node_id: (cluster.process(node_id), True) for node_id in cluster.node_ids}
    never = threading.Event()
    while not never.wait(_LOOK_EVERY_S):
        for node_id in cluster.node_ids:
            now = (cluster.process(node_id), cluster.is_alive(node_id))
            if now == seen[node_id]:
                continue
            before, seen[node_id] = seen[node_id][0], now
            process, lives = now
            if lives and process is not None:
                what = "was restarted" if process != before else "lives"
                _console.print(f"node {node_id} {what} (process {process.pid})")
            else:
                _console.print(f"node {node_id} is dead{_how(cluster.exit_code(node_id))}")


def _how(exit_code: int | None) -> str:
    if exit_code is None:
        return ""
    return f": killed by {signal.Signals(-exit_code).name}" if exit_code < 0 else f": it exited with code {exit_code}"


def _health_words(health: Health) -> str:
    return {
        Health.SERVING: "[green]serving[/green]",
        Health.NOT_SERVING: "[yellow]knows no leader[/yellow]",
        Health.UNREACHABLE: "[red]does not answer[/red]",
    }[health]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Signals that would stop this process wait until the work is done, so that no node is left behind."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)


if __name__ == "__main__":
    main()
