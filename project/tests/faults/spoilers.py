"""Forty ways to spoil a process, and a function that tells what it finds. See helpers.functions_of."""

import atexit
import builtins
import decimal
import faulthandler
import gc
import io
import json
import locale
import logging
import logging.config
import multiprocessing
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from launchpad import job, progress

MB = 1024**2
FORK = multiprocessing.get_context("fork")
kept: list[Any] = []


def do_nothing() -> None:
    logging.info("nothing is logged")


def close_stdout() -> None:
    sys.stdout.close()


def close_files() -> None:
    os.closerange(0, 256)


def wrap_stdout() -> None:
    kept.append(io.TextIOWrapper(sys.stdout.buffer))
    kept.clear()


def replace_stdout() -> None:
    sys.stdout = sys.stderr = io.StringIO()


def open_files() -> None:
    kept.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(100))


def change_into_a_folder_that_goes() -> None:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)


def add_a_handler() -> None:
    logging.getLogger().addHandler(logging.StreamHandler())
    logging.info("twice")


def disable_logging() -> None:
    logging.disable(logging.CRITICAL)


def configure_logging() -> None:
    logging.config.dictConfig({"version": 1, "root": {"level": "ERROR", "handlers": []}})


def set_a_start_method() -> None:
    multiprocessing.set_start_method("spawn")


def leave_a_daemon_thread_that_prints() -> None:
    def run() -> None:
        while True:
            print("from a thread of the last job")
            time.sleep(0.01)

    threading.Thread(target=run, daemon=True).start()


def leave_a_thread() -> None:
    threading.Thread(target=time.sleep, args=[60]).start()


def leave_a_pool_of_threads() -> None:
    kept.append(ThreadPoolExecutor())
    kept[-1].submit(time.sleep, 60)


def leave_a_pool_of_processes() -> None:
    kept.append(FORK.Pool(2))
    kept[-1].map_async(time.sleep, [60, 60])


def leave_a_child_that_prints() -> None:
    subprocess.Popen(["sh", "-c", "while :; do echo from a child of the last job; sleep 0.05; done"])


def leave_a_child_in_its_own_session() -> None:
    subprocess.Popen(["sh", "-c", "while :; do echo from a daemon; sleep 0.05; done"], start_new_session=True)


def leave_a_daemon() -> None:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                print("from a daemon of the last job", flush=True)
                time.sleep(0.05)
        os._exit(0)
    os.wait()


def let_a_fork_go_on() -> None:
    os.fork()  # both return


def filter_warnings() -> None:
    warnings.simplefilter("ignore")


def forget_warnings() -> None:
    warnings.warn("careful", stacklevel=1)


def lower_the_recursion_limit() -> None:
    sys.setrecursionlimit(100)


def set_the_umask() -> None:
    os.umask(0o777)


def set_a_socket_timeout() -> None:
    socket.setdefaulttimeout(0.001)


def set_the_decimal_context() -> None:
    decimal.getcontext().prec = 2


def handle_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGCHLD, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def block_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))


def set_timers() -> None:
    signal.signal(signal.SIGPROF, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_PROF, 0.01, 0.01)


def empty_the_modules() -> None:
    for name in ("json", "logging", "random", "launchpad", "redis", "jobs"):
        sys.modules.pop(name, None)


def clear_the_path() -> None:
    sys.path.clear()


def register_an_exit() -> None:
    atexit.register(print, "from the exit of the last job")


def disable_the_collector() -> None:
    gc.disable()
    gc.freeze()


def limit_resources() -> None:
    for what, limit in ((resource.RLIMIT_NOFILE, 3), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (limit, limit))


def limit_processor_time() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (1000, 1000))


def start_a_session() -> None:
    os.setpgid(0, os.getppid()) if os.getpgid(os.getppid()) == os.getppid() else None


def disable_faulthandler() -> None:
    faulthandler.disable()


def change_the_environment() -> None:
    os.environ.clear()
    os.environ["TZ"] = "Asia/Kolkata"
    time.tzset()


def change_a_builtin() -> None:
    builtins.sum = lambda *_: 7  # type: ignore[assignment]


def seed_random() -> None:
    random.seed(1)


def set_a_locale() -> None:
    locale.setlocale(locale.LC_ALL, "C")
    decimal.DefaultContext.prec = 3


def take_memory() -> None:
    kept.append(bytearray(300 * MB))


def be_nice() -> None:
    os.nice(19)


def set_hooks() -> None:
    sys.excepthook = sys.unraisablehook = lambda *_: None  # type: ignore[assignment]
    threading.settrace(lambda *_: None)  # type: ignore[arg-type, return-value]
    sys.argv[:] = ["--follow", "me"]


def block_the_pipe() -> None:
    os.set_blocking(1, False)


def raise_an_exit() -> None:
    sys.exit(3)


def end_at_once() -> None:
    os._exit(0)


SPOILERS: dict[str, Callable[[], None]] = {
    name: value
    for name, value in list(vars().items())
    if callable(value) and getattr(value, "__module__", "") == __name__ and not name.startswith("_")
}


@job(timeout=60)
def spoil(how: str) -> str:
    """Spoil the process that this runs in."""
    print("spoiled by", how)
    SPOILERS[how]()
    return how


@job(timeout=60, warm=True)
def spoil_warm(how: str) -> str:
    """Do the same in a process that is kept."""
    print("spoiled by", how)
    SPOILERS[how]()
    return how


def found() -> dict[str, Any]:
    """Tell what a job finds in its process, as far as it is the same for all jobs."""
    mask = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    limits = [resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")]
    handlers = [str(signal.getsignal(number)).split(" at ")[0] for number in (1, 2, 10, 14, 15, 17, 27)]
    environ = {name: value for name, value in os.environ.items() if name not in ("RQ_JOB_ID", "TMPDIR", "HOME")}
    umask = os.umask(0)
    os.umask(umask)
    return {
        "folder": os.getcwd(),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "children": Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(),
        "signals": [*map(str, mask), *handlers, str(signal.getitimer(signal.ITIMER_PROF))],
        "limits": limits,
        "environ": environ,
        "umask": umask,
        "nice": os.nice(0),
        "python": [sys.getrecursionlimit(), gc.isenabled(), sys.argv, len(sys.path), faulthandler.is_enabled()],
        "modules": sorted(sys.modules)[:20],
        "libraries": [decimal.getcontext().prec, socket.getdefaulttimeout(), logging.root.manager.disable, time.tzname],
        "logging": [logging.root.level, len(logging.root.handlers)],
        "method": multiprocessing.get_start_method(allow_none=True),
        "warnings": len(warnings.filters),
        "builtins": sum([1, 2]),
        "excepthook": sys.excepthook is sys.__excepthook__,
        "temporary": os.listdir(tempfile.gettempdir()),
    }


def look_around() -> str:
    for _ in progress(range(3), desc="looking"):
        print("I look around")
    logging.warning("careful")
    return json.dumps(found(), sort_keys=True, default=str)


@job(timeout=60)
def look() -> str:
    """Tell what a job finds."""
    return look_around()


@job(timeout=60, warm=True)
def look_warm() -> str:
    """Tell what a job finds in a process that is kept."""
    return look_around()
