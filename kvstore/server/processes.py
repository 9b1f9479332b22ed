"""Processes that outlive whoever started them.

A node of a local cluster may be started from one terminal and killed from another, so a process is known by its number
*and* the moment of its birth: numbers are used again. Nobody here is a parent in earnest: a process is spawned in a
session of its own (Ctrl-C in a terminal reaches only who runs there), it is reaped by whoever happens to be its parent,
and a zombie counts as dead, because its parent may be somebody else who has not looked yet. Not one that still has
threads, though: they are on their way out, and until the last has gone the process keeps its files, locks and ports.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Process", "is_alive", "is_paused", "look_at", "reap", "send", "spawn", "wait_until"]

_POLL_S: Final = 0.02
_PROC: Final = Path("/proc")
_DEAD: Final = frozenset({"Z", "X"})
_ENDING: Final = "E"
"""Our letter for a zombie with threads."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process and no later one: ``birth`` is when it began, in whatever words the system has for that."""

    pid: int
    birth: str


def spawn(command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> Process:
    """Start ``command`` in a session of its own, with no input and its output appended to ``log``."""
    # posix_spawn and not subprocess.Popen: no object that insists on waiting for its child, no fork of a process that
    # may run threads. Files that Python opens are not inherited.
    pid = os.posix_spawnp(
        command[0],
        list(command),
        dict(environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
        setsigdef=[signal.SIGINT, signal.SIGTERM],
    )
    looked = _look(pid)
    assert looked is not None, f"process {pid} is our child and was not reaped: it exists"
    return Process(pid=pid, birth=looked[1])


def look_at(pid: int) -> Process | None:
    """The process that has this number now, or None."""
    looked = _look(pid)
    return None if looked is None else Process(pid=pid, birth=looked[1])


def is_alive(process: Process) -> bool:
    state = _state(process)
    return state is not None and state not in _DEAD


def is_paused(process: Process) -> bool:
    return _state(process) in {"T", "t"}


def send(process: Process, number: signal.Signals) -> bool:
    """Send a signal; False if the process was dead already."""
    if not is_alive(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def reap(process: Process) -> int | None:
    """How a dead child of ours ended: its exit code, or minus the signal that killed it.

    None if it lives, or was reaped before, or is somebody else's child.
    """
    try:
        pid, status = os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if pid == process.pid else None


def wait_until(condition: Callable[[], bool], *, timeout_s: float) -> bool:
    """Whether ``condition`` came true within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _state(process: Process) -> str | None:
    looked = _look(process.pid)
    return looked[0] if looked is not None and looked[1] == process.birth else None


def _look(pid: int) -> tuple[str, str] | None:
    """(state, birth) of the process that has this number now. Linux tells in /proc, other systems through ps."""
    if (_PROC / "self").exists():
        try:
            stat = (_PROC / str(pid) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The second field is the program's name in parentheses and may hold anything: count from its end.
        fields = stat.rpartition(")")[2].split()
        state, threads, birth = fields[0], int(fields[17]), fields[19]
        return _ENDING if state == "Z" and threads > 1 else state, birth
    told = subprocess.run(  # noqa: S603 - the arguments are ours
        ["/bin/ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(maxsplit=1)
    return (told[0][0], told[1].strip()) if len(told) == 2 else None
