"""Processes: what a job has started, what it used, and how all of it is ended.

On Linux a process can adopt the orphans among its descendants, so that nothing that a job has started gets away from
it, whatever group or session it is in. Elsewhere only the group of the job's process is ended.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IS_LINUX = sys.platform == "linux"
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36  # of prctl(2)
SWEEP_SECONDS = 5.0  # for which what is left of a job is looked for and killed


def adopt_orphans() -> None:
    """Become the parent of each descendant whose own parent ends."""
    if IS_LINUX:
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Let the kernel send this process a signal when its parent ends; leave at once if it has already."""
    if IS_LINUX:
        LIBC.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)


def mark(name: str) -> None:
    """Give this process a name, which all that it forks has, too, until it executes a program."""
    if IS_LINUX:
        LIBC.prctl(PR_SET_NAME, name.encode())


def kill_marked(name: str, variables: set[str]) -> None:
    """Kill the processes of this user that have a name, or one of these variables in their environment."""
    killed: set[int] = set()
    while new := set(_marked(name, {each.encode() for each in variables})) - killed - {os.getpid()}:
        for pid in new:
            kill(pid)
        killed |= new


def _marked(name: str, variables: set[bytes]) -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            is_ours = process.stat().st_uid == os.geteuid()
            has_name = (process / "comm").read_text(errors="replace").rstrip("\n") == name
            if is_ours and (has_name or variables & set((process / "environ").read_bytes().split(b"\0"))):
                yield int(process.name)


@dataclass
class Usage:
    """What processes have used: seconds of processor time, and the bytes of the largest of them."""

    cpu_seconds: float = 0.0
    max_memory_bytes: int = 0

    def add(self, usage: Any) -> None:
        """Add what the system tells of a process that has ended, and of those that it has waited for."""
        self.cpu_seconds += usage.ru_utime + usage.ru_stime
        unit = 1024 if IS_LINUX else 1  # macOS counts bytes
        self.max_memory_bytes = max(self.max_memory_bytes, usage.ru_maxrss * unit)


def reap() -> Iterator[tuple[int, int, Any]]:
    """Yield the process id, the exit status and the usage of each child that has ended."""
    with suppress(ChildProcessError):
        while (found := os.wait4(-1, os.WNOHANG))[0]:
            yield found


def has_children() -> bool:
    """Tell whether there are children, without waiting for one."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process, if it is there."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def kill_group(pid: int) -> None:
    """Kill the process group that a process leads."""
    with suppress(ProcessLookupError, PermissionError):  # macOS: not permitted, for a zombie
        os.killpg(pid, signal.SIGKILL)


def descendants(pid: int, spared: set[int]) -> list[int]:
    """List all that a process has started and what these have started, except the spared and theirs."""
    found = []
    for child in _children(pid):
        if child not in spared:
            found += [child, *descendants(child, spared)]
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with suppress(OSError):  # it has ended
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as file:
                children += map(int, file.read().split())
    return children


def kill_descendants(usage: Usage, spared: set[int]) -> bool:
    """Kill all that this process has started and adopted, except the spared; tell whether nothing is left.

    What is killed leaves its own children behind, and these are adopted: so it is looked for until none is left.
    """
    deadline = time.monotonic() + SWEEP_SECONDS
    while has_children():
        left = descendants(os.getpid(), spared)
        if not left:
            return True
        if time.monotonic() > deadline:
            return False
        for pid in left:
            kill(pid)
        time.sleep(0.001)
        for pid in left:  # and no other: that one of the spared has ended is for somebody else to see
            with suppress(ChildProcessError):  # its own parent waits for it
                if (found := os.wait4(pid, os.WNOHANG))[0]:
                    usage.add(found[2])
    return True
