"""Failpoints: at the counted passage the process is gone, as if killed from outside. (Real nodes: tests/e2e.)"""

import signal
import subprocess
import sys

import pytest

from kvstore.server.failpoints import POINTS, parse

PROGRAM = """
import sys
from kvstore.server.failpoints import arm, failpoint
arm(sys.argv[1])
for number in range(1, 6):
    print(number, flush=True)
    failpoint("commit.after")
    failpoint("send.before")
"""


def passages(armed: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, armed], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout.split()


def test_the_process_dies_at_the_counted_passage() -> None:
    assert passages("commit.after=3") == (-signal.SIGKILL, ["1", "2", "3"])


def test_the_first_of_several_points_ends_it() -> None:
    assert passages("commit.after=3,send.before=2") == (-signal.SIGKILL, ["1", "2"])


@pytest.mark.parametrize("armed", ["", "apply.before=1", "commit.after=6"])
def test_what_is_not_armed_or_not_reached_does_nothing(armed: str) -> None:
    assert passages(armed) == (0, ["1", "2", "3", "4", "5"])


def test_every_point_can_be_named() -> None:
    text = ", ".join(f"{name}={count}" for count, name in enumerate(POINTS, start=1))

    assert parse(text) == {name: count for count, name in enumerate(POINTS, start=1)}


@pytest.mark.parametrize(
    "text", ["commit", "commit.after", "commit.after=", "commit.after=x", "commit.after=0", "=1", "x=1"]
)
def test_nonsense_is_refused_and_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"KV_FAILPOINTS: '{text}' is not NAME=COUNT"):
        parse(text)
