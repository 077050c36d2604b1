"""What the tests share beside the fixtures: waiting for a state, free ports, processes."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.request import urlopen

from playwright.sync_api import Browser, Playwright

PROJECT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
WORKER = """rq worker --with-scheduler --worker-class worker.Worker --job-class launchpad.index.Job
  --connection-class worker.WorkerRedis --serializer json
  --worker-ttl 30 --job-monitoring-interval 5 --maintenance-interval 10 default""".split()  # noqa: SIM905 - as one types it

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


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(
    command: list[str], cwd: Path = PROJECT, stdout: IO[bytes] | None = None, **environ: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in project/, and end it and its children afterwards."""
    child = subprocess.Popen(
        [str(BIN / command[0]), *command[1:]],
        cwd=cwd,
        env=os.environ | {"PYTHONWARNINGS": "default"} | environ,
        stdout=stdout,
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
