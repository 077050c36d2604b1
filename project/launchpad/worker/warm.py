"""Warm processes: one is kept for each function with `@job(warm=True)`, and runs that function alone.

What its module holds (a model, a connection, a cache) is loaded once. A process is kept only while nothing of a run is
left in it: after a failure, a stop, a thread or a child that goes on, another working directory or another stdout, the
next run has a new one.
"""

import os
import resource
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from launchpad.worker import job_process, processes
from launchpad.worker.log_pipe import is_behind
from launchpad.worker.processes import Usage

MAX_JOBS = 1000  # that a process runs before another takes its place, in case something grows in it slowly
MAX_GROWTH_BYTES = 512 * 1024**2  # of memory, since its first job ended


class WarmProcess:
    """A process that is kept, as the template sees it."""

    def __init__(self) -> None:
        self.outcome = job_process.Outcome()
        self.connection, self._theirs = Pipe()
        self.pid = 0

    def start(self, template: int, make_job: Callable[[dict[str, Any]], Any], detach: Callable[[], None]) -> None:
        """Fork it; returns in the template only.

        Args:
            template: the process id of the template.
            make_job: makes RQ's job of its state, in the process.
            detach: lets go of what is the template's, in the process.
        """
        self.pid = os.fork()
        if self.pid == 0:
            detach()
            self.connection.close()
            _be_warm_process(template, self._theirs, self.outcome, make_job)
        self._theirs.close()

    def hand(self, state: dict[str, Any], folder: Path) -> None:
        """Have it run the job with this state; if it has just died, that is seen as its end."""
        self.outcome.clear()
        try:
            self.connection.send((state, folder))
        except OSError:
            processes.kill(self.pid)


def _be_warm_process(
    template: int, connection: Connection, outcome: job_process.Outcome, make_job: Callable[[dict[str, Any]], Any]
) -> NoReturn:
    try:
        job_process.set_up(template)
        limit = None
        for _ in range(MAX_JOBS):
            state, folder = connection.recv()
            job = make_job(state)
            job_process.set_up_run(job, folder)
            before, used = _State.now(), _usage()
            found = job_process.run(job)
            outcome.write(found)
            limit = limit or _usage().max_memory_bytes + MAX_GROWTH_BYTES
            if "error" in found or is_behind() or _State.now() != before or _usage().max_memory_bytes > limit:
                break
            connection.send(_since(used))
    except EOFError:
        pass
    finally:
        os._exit(0)


class _State(NamedTuple):
    """What a run must leave as it was."""

    streams: tuple[int, int]
    files: tuple[int, ...]
    folder: str
    threads: int
    has_children: bool

    @classmethod
    def now(cls) -> "_State":
        """Look at this process; what cannot be looked at differs from all."""
        try:
            files = tuple(os.fstat(fd).st_ino for fd in (1, 2))
            streams = (id(sys.stdout), id(sys.stderr))
            is_open = not (sys.stdout.closed or sys.stderr.closed)
            return cls(
                streams if is_open else (0, 0), files, os.getcwd(), threading.active_count(), processes.has_children()
            )
        except OSError:
            return cls((0, 0), (), "", -1, True)


def _usage() -> Usage:
    usage = Usage()
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage.add(resource.getrusage(who))
    return usage


def _since(before: Usage) -> Usage:
    usage = _usage()
    usage.cpu_seconds -= before.cpu_seconds
    return usage
