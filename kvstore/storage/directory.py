"""The data directory: who may look into it, who holds it, and where things lie in it.

::

    DIR/lock         held (flock) as long as the node runs; holds its pid
    DIR/acceptor.db  what this node promised and accepted
    DIR/high-water   what is durable in acceptor.db
    DIR/state.db     the state machine's, which this room never opens

The kernel drops the lock when the process ends, however it ends; the file stays.
"""

import fcntl
import os
import stat
from pathlib import Path

from kvstore.storage.errors import DirectoryLocked, DirectoryUnusable, UnsafeDirectory

__all__ = ["DataDirectory", "sync_directory"]


class DataDirectory:
    """Making one checks the directory, and creates it where it is missing. Raises Unsafe- or DirectoryUnusable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / "acceptor.db"
        self.database_wal = path / "acceptor.db-wal"
        self.high_water = path / "high-water"
        self.state = path / "state.db"
        self._lock_file = path / "lock"
        self._lock_fd: int | None = None
        try:
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.mkdir(mode=0o700)
                sync_directory(path.parent)
            status = path.stat()
        except OSError as error:
            raise DirectoryUnusable(path, why=error.strerror or str(error)) from error
        if not stat.S_ISDIR(status.st_mode):
            raise DirectoryUnusable(path, why="it is not a directory")
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077:
            raise UnsafeDirectory(path, mode=mode)

    def lock(self) -> None:
        """Raises DirectoryLocked where another process, or another log of this one, holds it."""
        assert self._lock_fd is None, "locked already"
        try:
            fd = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DirectoryUnusable(self._lock_file, why=error.strerror or str(error)) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        except BlockingIOError:
            pid = os.pread(fd, 32, 0).strip()
            os.close(fd)
            raise DirectoryLocked(self.path, pid=int(pid) if pid.isdigit() else None) from None
        except OSError as error:
            os.close(fd)
            raise DirectoryUnusable(self._lock_file, why=error.strerror or str(error)) from error
        self._lock_fd = fd

    def unlock(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def bytes_on_disk(self) -> int:
        """Of the log's own files."""
        files = (self.database, self.database_wal, self.high_water)
        return sum(file.stat().st_size for file in files if file.exists())


def sync_directory(path: Path) -> None:
    """Makes the names in ``path`` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
