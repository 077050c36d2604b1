"""How much memory processes have, and whether one was killed for want of it; on Linux, elsewhere nothing is told."""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

LOOK_SECONDS = 0.05  # between two looks at the memory of a run that has a limit
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class MemoryEnd(NamedTuple):
    """Whether memory was why a process was killed: it had more than it may have, or the system had none left.

    "unknown" where the system does not tell. With a limit, the bytes that there were, and the limit.
    """

    reason: Literal["", "limit", "system", "unknown"] = ""
    had: int = 0
    limit: int = 0


def resident_bytes(pids: Iterable[int]) -> int:
    """Return at most what these processes have in memory, quickly: what they share counts for each of them."""
    total = 0
    for pid in pids:
        with suppress(OSError, IndexError, ValueError):  # it has ended
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    return total


def proportional_bytes(pids: Iterable[int]) -> int:
    """Return what these processes have in memory; of what several processes share, each counts its part."""
    total = 0
    for pid in pids:
        with suppress(OSError):  # it has ended
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def count_of_kills() -> int | None:
    """Return how many processes of this container, or else of this machine, were killed for want of memory.

    None where the system does not tell.
    """
    for file in (_events_of_control_group(), Path("/proc/vmstat")):
        with suppress(OSError):
            for line in file.read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
    return None


def _events_of_control_group() -> Path:
    path = ""
    with suppress(OSError):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    return Path("/sys/fs/cgroup", path, "memory.events")


class MemoryWatch:
    """Sees whether a process has more memory than it may have, and whether memory was why one was killed."""

    def __init__(self) -> None:
        self.pid = 0  # the process that is watched, if one is
        self._limit = self._had = 0
        self._kills, self._noted_at = count_of_kills(), time.monotonic()

    @property
    def look_seconds(self) -> float | None:
        """How long to wait before the next look; None, if there is nothing to look at."""
        return LOOK_SECONDS if self.pid else None

    def note(self) -> None:
        """Note how many processes the system has killed so far, unless that was done a moment ago."""
        if time.monotonic() > self._noted_at + 1:
            self._kills, self._noted_at = count_of_kills(), time.monotonic()

    def begin(self, pid: int, limit: int) -> None:
        """Watch a process that may have so many bytes; with 0, watch none."""
        self.pid, self._limit, self._had = pid if limit else 0, limit, 0

    def is_over(self, pids: list[int]) -> bool:
        """Tell whether these processes have more than the one that is watched may have."""
        if resident_bytes(pids) <= self._limit:
            return False
        had = proportional_bytes(pids)
        self._had = max(self._had, had if had > self._limit else 0)
        return had > self._limit

    def end(self, pid: int, status: int) -> MemoryEnd:
        """Tell whether memory was the reason for the end of a process."""
        had, limit = (self._had, self._limit) if pid == self.pid else (0, 0)
        if pid == self.pid:
            self.begin(0, 0)
        if not (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL):
            return MemoryEnd("")
        if had:
            return MemoryEnd("limit", had, limit)
        before, self._kills = self._kills, count_of_kills()
        if self._kills is None:
            return MemoryEnd("unknown")
        return MemoryEnd("system" if self._kills > (before or 0) else "")
