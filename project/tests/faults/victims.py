"""Functions to which something happens. See helpers.functions_of."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count, repeat
from pathlib import Path

from rq import get_current_job

from launchpad.functions import catalog
from launchpad.functions.progress import progress

job = partial(catalog.job, warm=os.environ.get("KIND") == "warm")
MB = 1024**2


def record() -> None:
    """Write down, where no crash takes it away, that this job runs now in this process."""
    line = f"{get_current_job().id} {os.getpid()} {time.time()}\n"
    file = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)


@job()
def rest(seconds: float = 0) -> str:
    record()
    time.sleep(seconds)
    return "rested"


@job(retries=20)
def rest_again(seconds: float = 0) -> str:
    return rest(seconds)


@job(timeout=600)
def work(until: str) -> int:
    """Make progress, and print each step, until there is a file."""
    record()
    for step in progress(count()):
        print(step)
        time.sleep(0.05)
        if os.path.exists(until):
            return step
    raise AssertionError


def fill_memory() -> None:
    with open("/proc/self/statm") as pages:
        used = int(pages.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 100 * MB, resource.RLIM_INFINITY))
    held = []
    while True:
        held.append(bytearray(MB))


ENDS: dict[str, Callable[[], object]] = {
    "kill -9": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "a segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "os._exit(0)": lambda: os._exit(0),
    "os._exit(1)": lambda: os._exit(1),
    "sys.exit()": lambda: sys.exit(),
    "sys.exit(0)": lambda: sys.exit(0),
    "sys.exit('no')": lambda: sys.exit("no"),
    "a memory limit": fill_memory,
}


@job()
def end_by(how: str) -> None:
    record()
    ENDS[how]()


@job()
def have_children() -> None:
    child = subprocess.Popen(["sleep", "600"])
    fork = os.fork()  # as multiprocessing does: it has all that its parent has open
    if fork == 0:
        time.sleep(600)
    print(child.pid, fork)
    time.sleep(600)


@job()
def leave_a_child() -> None:
    child = subprocess.Popen(["sleep", "60"])
    print(child.pid)
    os.kill(os.getpid(), signal.SIGKILL)


def loop() -> None:
    while True:
        sum(range(1000))


def loop_and_swallow() -> None:
    for _ in range(2):
        try:
            time.sleep(30)
        except Exception:
            print("swallowed")


def return_in_spite_of_it() -> None:
    try:
        time.sleep(30)
    except:  # noqa: E722 - as some do
        return


def go_on_in_spite_of_it() -> None:
    while True:
        try:
            time.sleep(30)
        except BaseException:
            print("swallowed")


def sum_for_ever() -> None:
    sum(repeat(0))  # one call of C, which holds the lock of the interpreter and looks at no signal


OVERDUE: dict[str, Callable[[], object]] = {
    "Python": loop,
    "a sleep": lambda: time.sleep(30),
    "except Exception": loop_and_swallow,
    "except, and return": return_in_spite_of_it,
    "except, and go on": go_on_in_spite_of_it,
    "a call of C": sum_for_ever,
    "a child process": lambda: subprocess.run(["sleep", "30"], check=True),
}


@job(timeout=2)
def take_too_long(how: str) -> None:
    record()
    OVERDUE[how]()


def scatter() -> None:
    """Start processes that nobody waits for, and print them and the folder for temporary files."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    reading, writing = os.pipe()
    if (middle := os.fork()) == 0:
        os.setsid()
        if (orphan := os.fork()) == 0:  # as a daemon does
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
        os.write(writing, str(orphan).encode())
        os._exit(0)
    os.waitpid(middle, 0)
    Path(tempfile.mkdtemp(), "half").write_text("of a file")
    print(child.pid, os.read(reading, 20).decode(), tempfile.gettempdir(), flush=True)


@job(timeout=2)
def scatter_for_long() -> None:
    scatter()
    time.sleep(600)


@job()
def scatter_and(then: str, seconds: float = 0) -> None:
    record()
    scatter()
    time.sleep(seconds)
    if then in ENDS:
        ENDS[then]()
    if then == "raise":
        raise ValueError


@job()
def clean_up(until: str) -> str:
    """Write what happens, with the time; take some seconds to clean up, or go on for ever."""
    try:
        record()
        time.sleep(600)
    except BaseException:
        record()
        if until == "it is killed":
            while True:
                time.sleep(0.1)
                record()
        raise
    return "rested"


@job(timeout=3)
def clean_up_after_its_limit(until: str) -> str:
    return clean_up(until)


@job(timeout=3)
def work_to_its_limit(until: str) -> int:
    return work(until)


@job()
def return_when_interrupted() -> int:
    with suppress(BaseException):
        record()
        time.sleep(600)
    return os.getpid()
