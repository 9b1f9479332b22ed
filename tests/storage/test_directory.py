"""The data directory: private, held by one process, and freed by its death."""

import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kvstore.paxos.types import Slot
from kvstore.storage.errors import DirectoryLocked, DirectoryUnusable, UnsafeDirectory
from tests.storage.helpers import open_sqlite

PROJECT = Path(__file__).parents[2]

APPENDER = """
import sys
from pathlib import Path
from tests.storage.helpers import accept, open_sqlite, write
log = open_sqlite(Path(sys.argv[1]))
slot = 0
while True:
    log.append(write(accept(slot, 1, b"value")))
    slot += 1
    print(log.sequence, flush=True)
"""


def test_a_missing_directory_is_created_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        open_sqlite(tmp_path / "deep" / "data").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "deep" / "data").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777, 0o701])
def test_a_directory_that_others_can_enter_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(UnsafeDirectory, match=f"has mode {mode:04o}, which lets other users in; it must be 0700"):
        open_sqlite(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DirectoryUnusable, match="it is not a directory"):
        open_sqlite(tmp_path / "data")
    with pytest.raises(DirectoryUnusable, match=r"cannot use .*below"):
        open_sqlite(tmp_path / "data" / "below")


def test_a_second_opening_in_one_process_is_refused(tmp_path: Path) -> None:
    log = open_sqlite(tmp_path / "data")
    with pytest.raises(DirectoryLocked, match=f"is in use by process {os.getpid()};"):
        open_sqlite(tmp_path / "data")
    log.close()
    open_sqlite(tmp_path / "data").close()


def test_a_killed_process_frees_its_directory_and_loses_nothing_it_spoke_of(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", APPENDER, str(tmp_path / "data")], stdout=subprocess.PIPE, text=True, cwd=PROJECT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        with pytest.raises(DirectoryLocked, match=re.escape(f"{tmp_path}/data is in use by process {process.pid};")):
            open_sqlite(tmp_path / "data")
        spoken = [process.stdout.readline() for _ in range(40)]
        process.send_signal(signal.SIGKILL)
        spoken += [line for line in process.stdout if line.endswith("\n")]
        spoken_of = int(spoken[-1])

    log = open_sqlite(tmp_path / "data")

    assert log.sequence >= spoken_of >= 41
    assert log.recover(from_slot=Slot(0)).log_end == log.sequence
    assert log.identity.incarnation == 2
    log.close()
