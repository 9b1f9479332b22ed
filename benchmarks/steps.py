"""What a person sees while it runs: a bar, and what is being measured now."""

from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

__all__ = ["Steps", "wide_console"]

_WIDTH_IN_FILES: Final = 180


def wide_console() -> Console:
    """As wide as the terminal; what goes elsewhere is not squeezed."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH_IN_FILES)


class Steps:
    """Wraps a whole run. Where there is no terminal, each figure is announced with one line."""

    def __init__(self, console: Console, *, total: int) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("[bold]{task.fields[figure]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID = self._progress.add_task("", total=total, figure="")
        self._begun = 0

    def figure(self, name: str) -> None:
        """The next figure begins."""
        if self._begun:
            self._progress.advance(self._task)
        self._begun += 1
        self._progress.update(self._task, figure=name, description="")
        if not self._console.is_terminal:
            self._console.print(f"measuring: {name}")

    def step(self, what: str) -> None:
        """Within the figure."""
        self._progress.update(self._task, description=what)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._progress.advance(self._task)
        self._progress.stop()
