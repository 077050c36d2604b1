"""Functions that talk, for the tests of the log. See helpers.functions_of."""

import ctypes
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

from rq import get_current_job

from launchpad.functions.catalog import job

FORK = multiprocessing.get_context("fork")


@job()
def speak() -> None:
    print("print")
    logging.debug("not shown")
    logging.info("info")
    print("stderr", file=sys.stderr)
    logging.getLogger("some.library").warning("two\nlines")
    warnings.warn("careful", stacklevel=1)
    os.write(1, b"bytes\n")
    subprocess.run(["sh", "-c", "echo child; echo its stderr >&2"], check=True)
    child = FORK.Process(target=lambda: logging.error("fork"))
    child.start()
    child.join()
    ctypes.CDLL(None).puts(b"C"), ctypes.CDLL(None).fflush(None)
    try:
        raise ValueError("bad")
    except ValueError:
        logging.exception("caught")
    print("not ended: ", end="")
    logging.critical("critical")
    print("lone surrogate \udc80")
    print("last", end="")


@job()
def say(number: int = 1) -> None:
    for i in range(number):
        print("line", i + 1)


@job()
def be_silent() -> None:
    pass


@job()
def be_silent_and_fail() -> None:
    raise ValueError


@job()
def die() -> None:
    print("first")
    print("last")
    os.kill(os.getpid(), signal.SIGKILL)


@job()
def die_loudly() -> None:
    print("last", end="", flush=True)
    ctypes.string_at(0)


@job()
def hold_the_pipe() -> None:
    """Leave a child that nobody ends, in a session of its own, and go on."""
    child = subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 60"], start_new_session=True)
    print(os.getpid(), child.pid)
    time.sleep(60)


@job()
def go_on() -> None:
    child = subprocess.Popen(["sleep", "60"])
    child.returncode = 0  # that it still runs is meant
    print(os.getpid(), child.pid)
    while True:
        print(time.time())
        time.sleep(0.07)


@job()
def write(pieces: list[str]) -> None:
    for piece in pieces:
        os.write(1, piece.encode("latin-1"))


@job()
def print_long_lines() -> None:
    for i in range(1000):
        print(str(i) * 4000)


@job(retries=2)
def try_again() -> None:
    attempt = get_current_job().meta["attempt"]
    time.sleep(2 * (attempt == 2))
    print("This is", attempt)
    if attempt == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    assert attempt == 3


@job()
def leave_a_child(seconds: int) -> None:
    begun, say = os.pipe()
    script = f"trap '' TERM; echo begin; echo . >&{say}; sleep {seconds}; echo end; echo its error >&2"
    child = subprocess.Popen(["sh", "-c", script], start_new_session=True, pass_fds=[say])
    os.read(begun, 1)
    child.returncode = 0  # that it still runs is meant
    print(child.pid)


@job()
def talk_at_once() -> None:
    def talk(name: str) -> None:
        for i in range(500):
            print(name * 20, i)

    talkers = [FORK.Process(target=talk, args=[name]) for name in "abcd"]
    talkers += [threading.Thread(target=talk, args=[name]) for name in "efgh"]
    for talker in talkers:
        talker.start()
    for talker in talkers:
        talker.join()


@job()
def wait_for(path: str) -> None:
    print("before")
    while not os.path.exists(path):
        time.sleep(0.05)
    print("after")
