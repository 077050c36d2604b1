"""Functions to which something happens. See helpers.functions_of."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count, repeat

from rq import get_current_job

from launchpad.functions.catalog import job
from launchpad.functions.progress import progress

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
