"""A deliberate mistake: functions of the production code with a few words replaced, for as long as a test runs.

The code object is exchanged in place, so that whoever has imported the function runs the mistake. A mutant whose text
is not in its function any more says so: it is to be mended together with the code.
"""

import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

__all__ = ["Edit", "Mutant"]


@dataclass(frozen=True, slots=True)
class Edit:
    """``function``: a plain function, a method or a property of the code under test. ``old`` occurs in it once."""

    function: Callable[..., Any] | property
    old: str
    new: str

    @property
    def place(self) -> str:
        function = self.plain
        return f"{function.__module__.removeprefix('kvstore.')}.{function.__qualname__}"

    @property
    def plain(self) -> FunctionType:
        function = self.function.fget if isinstance(self.function, property) else self.function
        function = inspect.unwrap(getattr(function, "__func__", function))
        assert isinstance(function, FunctionType), self.function
        return function

    def applied(self, source: str) -> str:
        """Raises ValueError where ``old`` does not occur exactly once."""
        if source.count(self.old) != 1:
            raise ValueError(f"{self.place} has {source.count(self.old)} times {self.old!r}")
        return source.replace(self.old, self.new)


@dataclass(frozen=True, slots=True, init=False)
class Mutant:
    """``about`` names the mistake in the field's words, and the mutant. Where two lines forbid it, both are edited."""

    about: str
    edits: tuple[Edit, ...]

    def __init__(self, about: str, *edits: Edit) -> None:
        object.__setattr__(self, "about", about)
        object.__setattr__(self, "edits", edits)

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The code under test is wrong within. Raises ValueError where it has changed since the mutant was made."""
        of_function: dict[FunctionType, list[Edit]] = {}
        for edit in self.edits:
            of_function.setdefault(edit.plain, []).append(edit)
        with ExitStack() as exchanged:
            for function, edits in of_function.items():
                exchanged.enter_context(_exchanged(function, edits))
            yield


@contextmanager
def _exchanged(function: FunctionType, edits: Iterable[Edit]) -> Iterator[None]:
    source = textwrap.dedent(inspect.getsource(function))
    for edit in edits:
        source = edit.applied(source)
    sound = function.__code__
    function.__code__ = _compiled(source, function)
    try:
        yield
    finally:
        function.__code__ = sound


def _compiled(source: str, function: FunctionType) -> CodeType:
    code = _find(compile(_within_its_class(source, function), inspect.getfile(function), "exec"), function.__name__)
    assert code.co_freevars == function.__code__.co_freevars, f"{function.__qualname__}: the closure may not change"
    return code


def _within_its_class(source: str, function: FunctionType) -> str:
    """So that names which the language mangles, and ``super()``, mean what they do in their own class."""
    owner = function.__qualname__.rpartition(".")[0].rpartition(".")[2]
    if not owner or owner == "<locals>":
        return source
    return f"class {owner}:\n" + textwrap.indent(source, "    ")


def _find(code: CodeType, name: str) -> CodeType:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_name == name:
                return constant
            return _find(constant, name)  # the class around it
    raise AssertionError(f"no function {name} in the changed source")
