"""What a process uses, as Linux tells: processor time, memory, disk."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

__all__ = ["Memory", "cpu_s", "disk_bytes", "memory"]

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """``resident``: all pages in memory. ``anonymous``: those of no file, which only the process itself can give up."""

    resident: int
    anonymous: int

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def cpu_s(pid: int) -> float:
    """Seconds of a core that the process, with all its threads, has used since it began; in hundredths."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def memory(pid: int) -> Memory:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest}
    return Memory(resident=kib["VmRSS"] * 1024, anonymous=kib["RssAnon"] * 1024)


def disk_bytes(directory: Path) -> int:
    """Blocks that the files occupy, in bytes: a file may be announced larger than it is."""
    total = 0
    for root, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_blocks * 512
            except FileNotFoundError:
                continue  # removed meanwhile
    return total
