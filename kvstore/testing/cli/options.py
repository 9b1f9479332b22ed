"""What the subcommands share: exit codes, the list of faults, where to print."""

from collections.abc import Sequence
from importlib import metadata
from typing import Final

import click
from rich.console import Console

from kvstore.testing.sim import FaultKind

__all__ = ["EXIT_BROKEN", "FAULTS", "fault_name", "plain_console", "version"]

EXIT_BROKEN: Final = 1
"""A law was broken. Click's own 2 is for wrong usage."""


def fault_name(kind: FaultKind) -> str:
    """As it is typed: ``one-way-cut``."""
    return kind.value.replace(" ", "-")


class _Faults(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    name = "faults"

    def convert(
        self, value: str | Sequence[FaultKind], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[FaultKind, ...]:
        if not isinstance(value, str):
            return tuple(value)
        if value in {"none", "all"}:
            return tuple(FaultKind) if value == "all" else ()
        names = {fault_name(kind): kind for kind in FaultKind}
        wanted = [name.strip() for name in value.split(",")]
        unknown = [name for name in wanted if name not in names]
        if unknown:
            self.fail(f"there is no fault {', '.join(map(repr, unknown))}; there are {', '.join(names)}", param, ctx)
        return tuple(kind for name, kind in names.items() if name in wanted)


FAULTS: Final = _Faults()
"""``none``, ``all``, or names with commas between."""


def plain_console() -> Console:
    """Of the same width everywhere where nobody watches, so that what is printed does not depend on it."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=120)


def version() -> str:
    return metadata.version("kvstore")
