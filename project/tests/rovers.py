"""Functions that tell in which process they run, or leave it as no other job should find it. See functions_of."""

import ctypes
import os
import subprocess
import sys
import threading
import time

from launchpad.functions.catalog import job
from launchpad.functions.progress import progress
from launchpad.worker import warm

MB = 1024**2
kept = []


@job()
def where() -> int:
    return os.getpid()


@job(isolated=True)
def alone() -> int:
    return os.getpid()


@job()
def retire(after: int) -> int:
    """Let this process run so many jobs, this one among them."""
    warm.MAX_JOBS = after
    return os.getpid()


@job()
def rest(seconds: float) -> None:
    time.sleep(seconds)


@job()
def say(word: str) -> None:
    for _ in progress(range(2), desc=word):
        pass
    print(word)


@job()
def fail() -> None:
    raise ValueError("no")


@job()
def crash() -> None:
    ctypes.string_at(0)


@job()
def leave() -> None:
    sys.exit()


@job()
def leave_silently() -> None:
    os._exit(0)


@job(timeout=1)
def take_too_long() -> None:
    time.sleep(60)


@job()
def take_all_memory() -> None:
    raise MemoryError


@job()
def grow() -> None:
    bytearray(350 * MB)


@job()
def leave_a_thread() -> None:
    threading.Thread(target=time.sleep, args=[60]).start()


@job()
def leave_a_child() -> None:
    kept.append(subprocess.Popen(["sleep", "1"]))


@job()
def close_all_files() -> None:
    os.closerange(3, 1000)
