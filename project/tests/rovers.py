"""Functions that tell in which process they run, or leave it as no other job should find it. See functions_of."""

import asyncio
import ctypes
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from launchpad.functions.catalog import job
from launchpad.functions.progress import progress
from launchpad.worker import warm

MB = 1024**2
warm.MAX_JOBS = 10
warm.MAX_GROWTH_BYTES = 100 * MB
kept: list[object] = []


@job()
def where() -> int:
    return os.getpid()


@job(warm=True)
def where_warm() -> int:
    return os.getpid()


@job(warm=True)
def count_warm() -> int:
    """Tell how many times this process has run it."""
    kept.append(None)
    return len(kept)


@job()
def rest(seconds: float) -> None:
    time.sleep(seconds)


@job(warm=True)
def rest_warm(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def speak(word: str) -> None:
    for _ in progress(range(2), desc=word):
        pass
    print(word)


@job()
def say(word: str) -> None:
    speak(word)


@job(warm=True)
def say_warm(word: str) -> None:
    speak(word)


@job()
def fail() -> None:
    raise ValueError("no")


# -- what leaves a doubt whether a process may run another job


def nothing() -> None:
    pass


def raise_an_error() -> None:
    raise ValueError("no")


def crash() -> None:
    ctypes.string_at(0)


def leave() -> None:
    sys.exit()


def leave_silently() -> None:
    os._exit(0)


def take_all_memory() -> None:
    raise MemoryError


def take_too_long() -> None:
    time.sleep(60)


def grow() -> None:
    bytearray(150 * MB)


def leave_a_thread() -> None:
    threading.Thread(target=time.sleep, args=[60]).start()


def leave_a_daemon_thread() -> None:
    def talk() -> None:
        while True:
            print("from a thread of the last job")
            time.sleep(0.01)

    threading.Thread(target=talk, daemon=True).start()


def leave_a_child() -> None:
    kept.append(subprocess.Popen(["sleep", "60"]))


def close_stdout() -> None:
    sys.stdout.close()


def close_descriptor_2() -> None:
    os.close(2)


def replace_stderr() -> None:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def change_the_folder() -> None:
    os.chdir(tempfile.gettempdir())


def close_all_files() -> None:
    os.closerange(3, 1000)


@job(warm=True, timeout=3)
def doubtful(how: str) -> int:
    way: Callable[[], None] = globals()[how]
    way()
    return os.getpid()


# -- how a job may be ended


@job()
def clean_up(folder: str, seconds: float) -> None:
    """Go on until it is interrupted, whatever errors that makes; and clean up, which takes so long."""
    try:
        while True:
            try:
                Path(folder, "begun").touch()
                time.sleep(60)
            except Exception:
                Path(folder, "swallowed").touch()
    finally:
        Path(folder, "cleaning").touch()
        time.sleep(seconds)
        Path(folder, "cleaned").touch()


@job(timeout=2)
def clean_up_in_time(folder: str, seconds: float = 0) -> None:
    clean_up(folder, seconds)


def go_astray(folder: str) -> None:
    """Leave a child in a session of its own, and one of a double fork; they end for no other reason."""
    Path(folder, "job").write_text(str(os.getpid()))
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        if (daemon := os.fork()) == 0:
            time.sleep(600)
        Path(folder, "daemon").write_text(str(daemon))
        os._exit(0)
    os.wait()
    Path(folder, "child").write_text(str(child.pid))


@job()
def lead_astray(folder: str, then: str) -> None:
    go_astray(folder)
    {"rest": lambda: time.sleep(60), "end": nothing, "crash": crash, "leave": leave_silently}[then]()


@job(timeout=2)
def lead_astray_too_long(folder: str) -> None:
    go_astray(folder)
    time.sleep(60)


# -- what a job has to itself


@job()
def write_a_temporary_file(then: str) -> str:
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(b"x")
    print(file.name)
    {"end": nothing, "fail": raise_an_error, "crash": crash, "rest": take_too_long}[then]()
    return file.name


@job()
def use_a_lot(then: str) -> None:
    print(tempfile.gettempdir())
    kept.append(bytearray(100 * MB))
    child = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-S", "-c", child], check=True)
    Path(tempfile.gettempdir(), "used").write_text(str(os.getpid()))
    {"end": nothing, "rest": take_too_long}[then]()


@job(memory="200 MB")
def take_400_mb() -> None:
    for _ in range(40):
        kept.append(bytearray(os.urandom(1) * 10 * MB))
    time.sleep(60)


@job(memory="200 MB", warm=True)
def take_400_mb_warm() -> None:
    take_400_mb()


@job()
async def wait_in_a_loop(seconds: float) -> str:
    await asyncio.gather(*(asyncio.sleep(seconds) for _ in range(3)))
    return "waited"


@job()
async def clean_up_in_a_loop(folder: str) -> None:
    try:
        Path(folder, "begun").touch()
        await asyncio.sleep(60)
    finally:
        Path(folder, "cleaned").touch()


@job()
def log_as_a_script_does() -> None:
    logging.basicConfig(level=logging.DEBUG)
    logging.debug("fine")
    logging.getLogger("a.library").warning("careful")
    print("printed")
