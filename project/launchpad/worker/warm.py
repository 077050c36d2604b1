"""Warm processes: one is kept for each function with `@job(warm=True)`, and runs that function alone.

What its module holds (a model, a connection, a cache) is loaded once. A process is kept only while nothing of a run is
left in it: after a failure, a stop, a thread or a child that goes on, another working directory or another stdout, the
next run has a new one.
"""

import itertools
import os
import resource
import signal
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Self

from launchpad.worker import processes
from launchpad.worker.job_process import JobProcess, MakeJob, run
from launchpad.worker.log_capture import is_intact
from launchpad.worker.log_pipe import is_behind
from launchpad.worker.messages import Finished
from launchpad.worker.processes import Usage

MAX_JOBS = 1000  # that a process runs before another takes its place, in case something grows in it slowly
LIMITS = tuple(getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_"))
MAX_GROWTH_BYTES = 512 * 1024**2  # of memory, since its first job ended


class WarmProcess(JobProcess):
    """A process that runs many jobs of one function."""

    def serve(self, connection: Connection, make_job: MakeJob) -> None:
        """Run jobs, and tell of each, until one has left something."""
        processes.adopt_orphans()  # so that these are seen
        limit = None
        for number in itertools.count(1):
            state = connection.recv()
            self.outcome.begin()
            before, used_before = _State.now(), _usage()
            outcome = run(make_job, state)
            self.outcome.write(outcome)
            used = _usage()
            limit = limit or used.max_memory_bytes + MAX_GROWTH_BYTES
            is_clean = "error" not in outcome and is_intact() and not is_behind() and _State.now() == before
            if not is_clean or number >= MAX_JOBS or used.max_memory_bytes > limit:
                break  # before the worker is told that it is kept, or it would hand over the next job
            self.folder.clear()
            used.cpu_seconds -= used_before.cpu_seconds
            connection.send(Finished(outcome, used))


class _State(NamedTuple):
    """What a run must leave as it was."""

    folder: str
    threads: int
    has_children: bool
    blocked_signals: frozenset[int]
    interrupted_by: Any
    limits: tuple[tuple[int, int], ...]
    recursion_limit: int
    umask: int

    @classmethod
    def now(cls) -> Self | None:
        """Look at this process; None where the folder has gone."""
        try:
            folder = os.getcwd()
        except OSError:
            return None
        os.umask(umask := os.umask(0o077))
        return cls(
            folder=folder,
            threads=threading.active_count(),
            has_children=processes.has_children(),
            blocked_signals=frozenset(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            interrupted_by=signal.getsignal(signal.SIGTERM),
            limits=tuple(map(resource.getrlimit, LIMITS)),
            recursion_limit=sys.getrecursionlimit(),
            umask=umask,
        )


def _usage() -> Usage:
    usage = Usage()
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage.add(resource.getrusage(who))
    return usage
