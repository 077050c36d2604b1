"""What the tests share beside the fixtures: waiting for a state, free ports, processes."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import IO, Any
from urllib.request import urlopen

from playwright.sync_api import Browser, Playwright
from redis import Redis
from rq.utils import utcformat

PROJECT = Path(__file__).resolve().parent.parent
APP = PROJECT / "tests/app"  # the project of the tests: a jobs.py and a server.py that nobody changes but they
BIN = Path(sys.executable).parent
WORKER = "rq worker --worker-class worker.Worker default".split()  # noqa: SIM905 - as one types it

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
# No sandbox, as containers and CI run as root; nothing that would ask the network by itself.
CHROMIUM_ARGUMENTS = """--no-sandbox --disable-gpu --disable-background-networking --disable-component-update
  --disable-sync --no-first-run""".split()  # noqa: SIM905 - as one types it


def wait_until(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """Wait for a condition to become true, and return what it returned."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} seconds: {condition}")


def below(limit: float, measure: Callable[[], float]) -> None:
    """Check that what is measured, in seconds, is below a limit in the best of five tries.

    Other tests run at the same time, and may stall the machine: that is not what is measured.
    """
    measured = []
    for _ in range(5):
        measured.append(measure())
        if measured[-1] < limit:
            return
    raise AssertionError(f"not below {limit} seconds: {measured}")


def free_port() -> int:
    """Find a port that nobody listens on, and that no test beside this one is given before it does."""
    for port in _ports:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError


# Each process of the tests has its own; below those that the system gives away by itself.
_first = 10_000 + 2000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw9")[2:])
_ports = cycle(random.sample(range(_first, _first + 2000), 2000))


def worker_of(name: str) -> list[str]:
    """The command that runs another class of worker: `module.Class`."""
    return [name if part == "worker.Worker" else part for part in WORKER]


def is_listening(redis: Redis) -> bool:
    """Tell whether a worker listens for commands: the last that it begins before it takes jobs."""
    return bool(redis.pubsub_channels(f"rq:pubsub:{32 * '?'}"))


def date_back(redis: Redis, ids: list[str]) -> None:
    """Let jobs be an hour and a half old: a list will tell the same age of them for half an hour."""
    for id in ids:
        redis.hset(f"rq:job:{id}", "created_at", utcformat(datetime.now(UTC) - timedelta(minutes=90)))


def polls(port: int, path: str, connections: int, seconds: float, pause: float) -> dict[str, Any]:
    """Let browsers ask from a process of its own, and answer what it tells; see benchmarks/load.py."""
    command = [sys.executable, PROJECT / "benchmarks/load.py", port, path, connections, seconds, pause]
    answer = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, check=True).stdout
    return dict(json.loads(answer))


def environ_in(folder: Path = APP) -> dict[str, str]:
    """The environment of a process that runs in a folder: its modules first, then those of the tests, then ours."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (folder, APP, PROJECT))),
        "PYTHONWARNINGS": "default",
        "GUNICORN_CMD_ARGS": f"--config={PROJECT}/gunicorn.conf.py",  # which it looks for in the folder
    }


@contextmanager
def process(
    command: list[str],
    cwd: Path = APP,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
    **environ: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in the project of the tests, and end it and its children afterwards."""
    child = subprocess.Popen(
        [str(BIN / command[0]), *command[1:]],
        cwd=cwd,
        env=environ_in(cwd) | environ,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(15)
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def functions_of(module: str, folder: Path) -> dict[str, Any]:
    """Make a folder whose jobs.py has those of a module of the tests, too; answers what `process` needs to know.

    A worker runs the functions of jobs.py, and of nothing else.
    """
    if not (folder / "jobs.py").exists():  # another worker may be reading it
        (folder / "jobs.py").write_text(f"{(APP / 'jobs.py').read_text()}\n\nfrom {module} import *\n")
    path = (folder, APP, PROJECT, PROJECT / "tests", PROJECT / "tests/faults")
    return {"cwd": folder, "PYTHONPATH": os.pathsep.join(map(str, path))}


def copy_project(folder: Path, functions: str = "") -> Path:
    """Make the project that somebody has who uses ours: project/ with the app of the tests, and functions of his."""
    left_out = shutil.ignore_patterns("tests", "benchmarks", "__pycache__", ".*_cache", ".hypothesis")
    project: Path = shutil.copytree(PROJECT, folder / "project", ignore=left_out)
    for file in APP.glob("*.py"):
        shutil.copy(file, project)
    with (project / "jobs.py").open("a") as jobs:
        jobs.write(functions)
    return project


def lend_environment(folder: Path) -> None:
    """Give a copy of the repository the virtual environment that the tests are run in, as if make had made it there."""
    (folder / ".venv").mkdir()
    for path in Path(sys.prefix).iterdir():
        if not path.name.startswith("made-with"):
            (folder / ".venv" / path.name).symlink_to(path)
    made = folder / ".venv/made-with-python3"
    made.touch()
    os.utime(made, (time.time() + 3600,) * 2)  # so that make does not make it anew, which is what takes long


def children(pid: int) -> list[int]:
    """The processes that a process has started; none where it has ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants(pid: int) -> set[int]:
    """The processes that a process has started, and those that these have."""
    found = children(pid)
    return set(found).union(*map(descendants, found))


def alive(pid: int) -> bool:
    """Tell whether a process has not ended, even if nobody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def horses(worker: subprocess.Popen[bytes]) -> list[int]:
    """The processes of the jobs: those children of the worker's template that lead a process group.

    The one that waits for the next job is among them, beside those that are kept and the one that runs.
    """
    found = []
    for pid in (job for child in children(worker.pid) for job in children(child)):
        with suppress(ProcessLookupError):  # it has just ended
            if os.getpgid(pid) == pid:
                found.append(pid)
    return found


def peak_memory(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024


def answers(url: str) -> bool:
    """Tell whether this URL answers with 200."""
    try:
        with urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def find_chromium() -> str | None:
    """Find the browser's program."""
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


def start_chromium(playwright: Playwright) -> Browser:
    """Start the browser, without a window."""
    return playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_ARGUMENTS)
