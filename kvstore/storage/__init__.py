"""The acceptor log on disk: what a node may not forget, and the proof that it did not. Start at ``port``."""

from kvstore.storage.errors import StorageError
from kvstore.storage.memory_log import MemoryAcceptorLog, MemoryDisk
from kvstore.storage.port import AcceptorLog, Formation, Identity, LogStats, RecoveredLog
from kvstore.storage.sqlite_log import SqliteAcceptorLog

__all__ = [
    "AcceptorLog",
    "Formation",
    "Identity",
    "LogStats",
    "MemoryAcceptorLog",
    "MemoryDisk",
    "RecoveredLog",
    "SqliteAcceptorLog",
    "StorageError",
]
