"""What all commands share: the options before the command, exit codes, and errors in one line.

A script must be able to tell "no" from "could not ask", and both from "nobody knows": hence the exit codes. Whatever
goes wrong ends here in one line on stderr, never in a traceback.
"""

import enum
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import click

from kvclient.attempts import checked_timeout
from kvclient.endpoints import parse_endpoints
from kvclient.errors import KvError, UnknownOutcome
from kvclient.sync_client import Client

__all__ = [
    "ErrorsInOneLine",
    "ExitCode",
    "Settings",
    "complain",
    "parse_endpoints_option",
    "parse_timeout_option",
    "readable",
]


class ExitCode(enum.IntEnum):
    """0 is done. The help of ``kv-client`` lists them."""

    NO = 1  # the answer: an absent key, a value that is not the one to swap
    USAGE = 2
    FAILED = 3  # nothing was written
    UNKNOWN = 4  # whether something was written is unknown
    INTERRUPTED = 130  # as shells have it: 128 + SIGINT
    NOBODY_READS = 141  # 128 + SIGPIPE


@dataclass(frozen=True, slots=True)
class Settings:
    """The options before the command. ``output`` is None where the command's own default applies."""

    endpoints: tuple[str, ...]
    timeout_s: float
    output: str | None

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client for one command."""
        with Client(self.endpoints, timeout=self.timeout_s, pipelined=False) as client:
            yield client


class ErrorsInOneLine(click.Group):
    """A group whose commands end with one line on stderr and an ``ExitCode`` where something goes wrong."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's own lines about connections are nobody's answer
        if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")  # a table in a locale without its letters
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.UsageError as error:
            help_of = error.ctx.command_path if error.ctx is not None else "kv-client"
            _end(ExitCode.USAGE, f"{error.format_message()} (see {help_of} --help)")
        except click.ClickException as error:
            _end(ExitCode.USAGE, error.format_message())
        except click.Abort:  # an interrupt before the command began
            _end(ExitCode.INTERRUPTED, "interrupted")
        sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UnknownOutcome as error:
            _end(ExitCode.UNKNOWN, str(error))
        except KvError as error:
            _end(ExitCode.FAILED, str(error))
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                click.echo(err=True)  # the terminal has written ^C there
            _end(ExitCode.INTERRUPTED, "interrupted; whether a write that was under way is done is unknown")
        except BrokenPipeError:
            _silence_stdout()
            sys.exit(ExitCode.NOBODY_READS)
        except OSError as error:  # input is read with care for these: what is left is the output
            _silence_stdout()
            _end(ExitCode.FAILED, f"the answer could not be written to standard output: {error.strerror}")


def complain(text: str) -> None:
    """One line on stderr."""
    click.echo(f"kv-client: {' '.join(text.split())}", err=True)


def readable(raw: bytes) -> str:
    """For messages and tables: text as it is; control characters and what is no UTF-8, in escapes."""
    text = raw.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def parse_endpoints_option(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    """``--endpoints``; a wrong one is wrong usage."""
    try:
        return parse_endpoints(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx=ctx, param=param) from None


def parse_timeout_option(ctx: click.Context, param: click.Parameter, value: float) -> float:
    """``--timeout``; a wrong one is wrong usage."""
    try:
        return checked_timeout(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx=ctx, param=param) from None


def _end(code: ExitCode, text: str) -> NoReturn:
    complain(text)
    sys.exit(code)


def _silence_stdout() -> None:
    """What is still in its buffer cannot be written either: lest the interpreter try, and complain, at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
