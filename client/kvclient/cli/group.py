"""What all commands share: the options before the command, exit codes, and errors in one line.

Exit codes: 0 done; 1 the answer is no (an absent key, a failed compare-and-swap) or an error; 2 wrong usage.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from kvclient.endpoints import parse_endpoints
from kvclient.errors import KvError
from kvclient.sync_client import Client

__all__ = ["ErrorsInOneLine", "Settings", "complain", "parse_endpoints_option"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The options before the command. ``output`` is None where the command's own default applies."""

    endpoints: tuple[str, ...]
    timeout_s: float
    output: str | None

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client for one command."""
        with Client(self.endpoints, timeout=self.timeout_s) as client:
            yield client


class ErrorsInOneLine(click.Group):
    """A group whose commands end with a line on stderr and exit code 1 where the library raises."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KvError as error:
            complain(str(error))
            ctx.exit(1)


def complain(text: str) -> None:
    """One line on stderr."""
    click.echo(f"kv-client: {' '.join(text.split())}", err=True)


def parse_endpoints_option(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    """``--endpoints``; a wrong one is wrong usage."""
    try:
        return parse_endpoints(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx=ctx, param=param) from None
