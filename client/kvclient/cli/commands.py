"""The commands. Each reads its arguments, makes one call, and hands the result to ``render``."""

import os
import sys
from typing import BinaryIO

import click

from kvclient.cli import render
from kvclient.cli.bench import bench
from kvclient.cli.group import (
    ErrorsInOneLine,
    ExitCode,
    Settings,
    complain,
    parse_endpoints_option,
    parse_timeout_option,
    readable,
)
from kvclient.cli.txn_text import TxnTextError, parse_transaction
from kvclient.endpoints import DEFAULT_ENDPOINT
from kvclient.results import DeleteResult, RangeResult
from kvclient.shell import DEFAULT_TIMEOUT_S
from kvclient.transaction import Compare, Get, Put

__all__ = ["main"]

BYTES = os.fsencode  # arguments as the bytes that the shell passed, UTF-8 or not
NUMBER_MAX = 2**63 - 1  # what the wire can carry
SHOWN_BYTES_MAX = 200


def _number_option(ctx: click.Context, param: click.Parameter, value: int) -> int:
    if not 0 <= value <= NUMBER_MAX:
        raise click.BadParameter(f"{value} is not between 0 and {NUMBER_MAX}", ctx=ctx, param=param)
    return value


@click.group(
    cls=ErrorsInOneLine,
    no_args_is_help=False,  # one line, as for any other mistake
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
    Exit codes:
      0    done
      1    the answer is no: KEY is absent (get), its value is not OLD (cas)
      2    wrong usage; nothing was sent
      3    an error: unreachable, refused, a read not answered in time; nothing was written
      4    whether the write was done is unknown: it was sent, and no answer came
      130  interrupted; a write that was under way may be done or not
      141  whoever read the output went away
    Errors are one line on stderr.

    \b
    Keys and values are bytes: what is no UTF-8 passes as it is, in and out.
    A key or value that begins with "-" goes after "--":  kv-client put -- -k -v

    \b
    Completion of commands and options:
      bash:  eval "$(_KV_CLIENT_COMPLETE=bash_source kv-client)"    in ~/.bashrc
      zsh:   eval "$(_KV_CLIENT_COMPLETE=zsh_source kv-client)"     in ~/.zshrc
      fish:  _KV_CLIENT_COMPLETE=fish_source kv-client | source     in config.fish""",
)
@click.option(
    "--endpoints",
    envvar="KV_ENDPOINTS",
    default=DEFAULT_ENDPOINT,
    show_default=True,
    show_envvar=True,
    metavar="A,B,C",
    callback=parse_endpoints_option,
    help="The servers, host:port, in the order in which to try them.",
)
@click.option(
    "--timeout",
    envvar="KV_TIMEOUT",
    type=float,
    default=DEFAULT_TIMEOUT_S,
    show_default=True,
    show_envvar=True,
    metavar="S",
    callback=parse_timeout_option,
    help="Seconds for the whole call, over all endpoints.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["plain", "json", "table"]),
    help="How to print; keys and values are base64 in json.  [default: table for status and members, else plain]",
)
@click.pass_context
def main(ctx: click.Context, endpoints: tuple[str, ...], timeout: float, output: str | None) -> None:
    """Talk to a replicated key-value store that speaks the etcd v3 API.

    \b
    Examples:
      kv-client put greeting hello
      kv-client get greeting
      kv-client --endpoints 10.0.0.1:2379,10.0.0.2:2379 status
      KV_ENDPOINTS=10.0.0.1:2379 kv-client -o json get --prefix user/
    """
    ctx.obj = Settings(endpoints, timeout, output)


@main.command()
@click.argument("key", type=BYTES)
@click.argument("value", type=BYTES)
@click.pass_obj
def put(settings: Settings, key: bytes, value: bytes) -> None:
    """Set KEY to VALUE, or to all that standard input holds if VALUE is "-". Prints OK.

    \b
    Examples:
      kv-client put greeting hello
      kv-client put photo - < photo.jpg
      printf - | kv-client put dash -
    """
    if value == b"-":
        value = _read(None if sys.stdin is None else sys.stdin.buffer)
    with settings.client() as client:
        render.put(client.put(key, value), settings.output)


@main.command()
@click.argument("key", type=BYTES)
@click.option("--prefix", is_flag=True, help="All keys that begin with KEY; all keys at all if KEY is ''.")
@click.option(
    "--limit", type=int, default=0, metavar="N", callback=_number_option, help="At most this many keys; 0 is all."
)
@click.option("--rev", type=int, default=0, metavar="N", callback=_number_option, help="As of this revision; 0 is now.")
@click.option("--keys-only", is_flag=True, help="No values.")
@click.option("--serializable", is_flag=True, help="What the endpoint has, without asking the others: maybe old.")
@click.pass_context
def get(
    ctx: click.Context, key: bytes, *, prefix: bool, limit: int, rev: int, keys_only: bool, serializable: bool
) -> None:
    """Print the value of KEY: its bytes and a newline. Exits with 1 if KEY is absent.

    With --prefix, prints keys and values in turn, a line each.

    \b
    Examples:
      kv-client get greeting
      kv-client get --prefix user/ --limit 10
      kv-client get --prefix '' --keys-only
      kv-client get greeting --rev 17
    """
    if not key and not prefix:
        raise click.UsageError("KEY is empty; every key there is: get --prefix ''", ctx)
    settings: Settings = ctx.obj
    with settings.client() as client:
        if prefix:
            found = client.get_prefix(key, limit=limit, revision=rev, keys_only=keys_only, serializable=serializable)
        else:
            found = client.range(  # of just this key: the shape is that of --prefix
                key, key + b"\0", limit=limit, revision=rev, keys_only=keys_only, serializable=serializable
            )
    render.found(found, settings.output, keys=prefix or keys_only, values=not keys_only)
    if not prefix and not found.kvs:
        complain(f"{_readable(key)} is absent")
        ctx.exit(ExitCode.NO)


@main.command(name="del")
@click.argument("key", type=BYTES)
@click.option("--prefix", is_flag=True, help="All keys that begin with KEY; all keys at all if KEY is ''.")
@click.pass_obj
def delete(settings: Settings, key: bytes, *, prefix: bool) -> None:
    """Delete KEY. Prints how many keys were deleted: 0 or 1, more with --prefix.

    \b
    Examples:
      kv-client del greeting
      kv-client del --prefix user/
    """
    with settings.client() as client:
        deleted: DeleteResult = client.delete_prefix(key) if prefix else client.delete(key)
        render.deleted(deleted, settings.output)


@main.command()
@click.argument("key", type=BYTES)
@click.argument("values", type=BYTES, nargs=-1, required=True, metavar="[OLD] NEW")
@click.option("--absent", is_flag=True, help="KEY must be absent; give no OLD then.")
@click.pass_context
def cas(ctx: click.Context, key: bytes, values: tuple[bytes, ...], *, absent: bool) -> None:
    """Compare and swap: set KEY to NEW if its value is OLD. Prints OK.

    If its value is another, or KEY is absent, says so on stderr and exits with 1.

    \b
    Examples:
      kv-client cas leader alice bob
      kv-client cas --absent leader alice
    """
    if len(values) != (1 if absent else 2):
        raise click.UsageError(
            "--absent takes KEY NEW" if absent else "cas takes KEY OLD NEW, or --absent KEY NEW", ctx
        )
    settings: Settings = ctx.obj
    condition = Compare.absent(key) if absent else Compare.value(key) == values[0]
    with settings.client() as client:
        result = client.txn().when(condition).then(Put(key, values[-1])).otherwise(Get(key)).commit()
    render.swapped(result, settings.output)
    if not result.succeeded:
        match result.results:
            case (RangeResult(kvs=(current, *_)),):
                complain(f"{_readable(key)} is {_readable(current.value)}")
            case _:
                complain(f"{_readable(key)} is absent")
        ctx.exit(ExitCode.NO)


@main.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.pass_obj
def txn(settings: Settings, file: BinaryIO) -> None:
    """Do the transaction in FILE, or on stdin. All of it happens at one revision.

    Three blocks, separated by blank lines: comparisons that must all hold, what to do then, what to do otherwise.
    An empty block is just its blank line. Prints SUCCESS or FAILURE, by which branch ran, and then its results; both
    exit with 0.

    \b
    Comparisons:  value("K") = "V"    with = != < >; false if K is absent
                  mod("K") > 3        also version, create, lease; 0 if K is absent
    Operations:   put K V
                  get K               or: get --prefix K
                  del K               or: del --prefix K
    Words are quoted as in a shell, line breaks too; lines that begin with # are comments.

    \b
    Example: take a lock that nobody has, else see who has it.
      kv-client txn <<'END'
      version("lock") = 0

    \b
      put lock "me"

    \b
      get lock
      END
    """
    try:
        parts = parse_transaction(_read(file))
    except TxnTextError as error:
        raise click.UsageError(str(error)) from None
    with settings.client() as client:
        transaction = client.txn().when(*parts.comparisons).then(*parts.success).otherwise(*parts.failure)
        render.transaction(transaction.commit(), settings.output)


@main.command()
@click.pass_context
def status(ctx: click.Context) -> None:
    """What each endpoint says about itself. Exits with 3 if one does not answer.

    \b
    Examples:
      kv-client --endpoints 10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379 status
      kv-client -o json status
    """
    settings: Settings = ctx.obj
    with settings.client() as client:
        statuses = client.status()
    render.statuses(statuses, settings.output)
    failed = [status.error for status in statuses if status.error is not None]
    for error in failed:
        complain(str(error))
    if failed:
        ctx.exit(ExitCode.FAILED)


@main.command()
@click.pass_obj
def members(settings: Settings) -> None:
    """The nodes of the cluster and their addresses.

    \b
    Examples:
      kv-client members
      kv-client -o json members
    """
    with settings.client() as client:
        render.members(client.members(), settings.output)


main.add_command(bench)


def _readable(raw: bytes) -> str:
    """For messages: at most ``SHOWN_BYTES_MAX`` of a value that may be a photo."""
    shown = readable(raw[:SHOWN_BYTES_MAX])
    return shown if len(raw) <= SHOWN_BYTES_MAX else f"{shown}... ({len(raw)} bytes)"


def _read(file: BinaryIO | None) -> bytes:
    """All of it; what cannot be read is wrong usage, and nothing is sent."""
    if file is None:
        raise click.UsageError("standard input is closed")
    try:
        return file.read()
    except OSError as error:
        raise click.UsageError(f"the input cannot be read: {error.strerror}") from None
