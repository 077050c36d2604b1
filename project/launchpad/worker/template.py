"""The template process, as its worker sees it: it has the app and its functions loaded, and forks the jobs' processes.

    worker     takes jobs and records their ends; talks to Redis, to its template, and to the process that runs a job
    template   forks processes, kills what they leave behind, tells how they have ended; it never runs a job
    process    runs one job, and ends; or the jobs of one function (see `warm.py`)

So a job has a fresh process, and yet nothing is to be imported for it. When a source file has changed, the worker
starts another template.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import recv_handle
from typing import Any

from launchpad.worker import processes
from launchpad.worker.forker import be_template, modification_times
from launchpad.worker.job_process import MakeJob
from launchpad.worker.messages import Ended, Finished, Fork, Loaded, Ready, Signal, Watch
from launchpad.worker.signals import blocked_signals

RETRY_SECONDS = 1.0  # after which functions that could not be loaded are tried again for a job


class Process:
    """The worker's side of a process that waits for a job, or runs one."""

    def __init__(self, function: str, pid: int, connection: Connection):
        self.function, self.pid, self.connection = function, pid, connection
        self.handed = 0  # runs
        self.cpu_seconds = 0.0  # of its runs that have ended; the system tells those of all together

    def hand(self, state: dict[str, Any]) -> None:
        """Have it run the job of RQ with this state; if it has just died, the template will say so."""
        self.handed += 1
        with suppress(OSError):
            self.connection.send(state)

    def receive(self) -> Finished | None:
        """Return what a process that is kept says of a run; None, if it ends, and the template will say more."""
        try:
            message: Finished = self.connection.recv()
        except (EOFError, OSError):
            self.function = ""
            return None
        return message

    def end_of_run(self, ended: Ended) -> Ended:
        """Return how the last run that was handed over has ended, of what the template says of the process.

        One that is kept may be killed before that run has begun: then the outcome is still that of the run before.
        """
        self.connection.close()
        ended.usage.cpu_seconds -= self.cpu_seconds
        if ended.runs < self.handed:
            ended.outcome, ended.has_begun = None, False
        return ended


class Template:
    """The worker's side of its template process.

    Args:
        make_job: makes RQ's job of its state.
        detach: lets go of the worker's connections, in the template.
        load: whether it loads the functions; otherwise the process of each job does.
    """

    def __init__(self, make_job: MakeJob, detach: Callable[[], None], load: bool = True):
        self.connection, theirs = Pipe()
        self.loaded: Loaded | None = None
        self._started_at = time.monotonic()
        self._waiting: dict[str, Process] = {}  # for a job, by their function; a fresh one has none
        self._asked_for: set[str] = set()
        worker = os.getpid()
        with blocked_signals():
            self.pid = os.fork()
            if self.pid == 0:
                self.connection.close()
                be_template(worker, theirs, make_job, detach, load)
        theirs.close()

    def send(self, message: Fork | Signal | Watch) -> None:
        """Ask for something; one that has died is found out when its answer is read."""
        with suppress(OSError):
            self.connection.send(message)

    def memory_of(self, function: str) -> int:
        """Return how many bytes a run of a function may have; 0, if there is no limit."""
        return self.loaded.memory.get(function, 0) if self.loaded else 0

    def ask_for(self, function: str) -> None:
        """Ask for a process, unless there is one, or it was asked for."""
        if function not in self._waiting and function not in self._asked_for:
            self._asked_for.add(function)
            self.send(Fork(function))

    def take(self, function: str) -> Process | None:
        """Return a process that waits for a job, if there is one."""
        return self._waiting.pop(function, None)

    def keep(self, process: Process) -> None:
        """Take a process back that waits for its next job."""
        self._waiting[process.function] = process

    def receive(self) -> Loaded | Ready | Ended:
        """Return what the template says next, which is noted here.

        Raises:
            EOFError, OSError: it has ended.
        """
        message: Loaded | Ready | Ended = self.connection.recv()
        if isinstance(message, Loaded):
            self.loaded = message
        elif isinstance(message, Ready):
            self._asked_for.discard(message.function)
            if message.pid:
                connection = Connection(recv_handle(self.connection))
                self._waiting[message.function] = Process(message.function, message.pid, connection)
        else:
            self._waiting = {name: each for name, each in self._waiting.items() if each.pid != message.pid}
        return message

    def is_current(self) -> bool:
        """Tell whether it is there, and no file that it has loaded functions from is another one now.

        One that could not load them is old after a second: the reason may have been a database that was away, or a
        file that is there now. Call it between two jobs only: it takes what the template has said.
        """
        try:
            while self.connection.poll():
                self.receive()
        except (EOFError, OSError):
            return False
        if self.loaded is None:
            return True
        if self.loaded.error and time.monotonic() > self._started_at + RETRY_SECONDS:
            return False
        return self.loaded.sources == modification_times(self.loaded.sources)

    def close(self) -> None:
        """End it, with what it has started; as long as it loads the functions, it does not listen."""
        self.connection.close()
        for process in self._waiting.values():
            process.connection.close()
        if self.loaded is None:
            processes.kill(self.pid)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
