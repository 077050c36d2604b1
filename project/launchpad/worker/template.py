"""The template process, as its worker sees it: it has the app and its functions loaded, and forks the jobs' processes.

    worker     takes jobs and records their ends; talks to Redis, and to its template by a pipe
    template   forks, waits, kills what a job has left behind, tells what it used; it never runs a job
    job        runs one function, and ends

So a job has a fresh process, and yet nothing is to be imported for it. When a source file has changed, the worker
starts another template.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Pipe
from typing import Any

from launchpad.worker import processes
from launchpad.worker.forker import be_template, modification_times
from launchpad.worker.messages import Loaded, Run, Signal
from launchpad.worker.signals import blocked_signals

RETRY_SECONDS = 1.0  # after which functions that could not be loaded are tried again for a job


class Template:
    """The worker's side of its template process.

    Args:
        make_job: makes RQ's job of its state.
        detach: lets go of the worker's connections, in the template.
        load: whether it loads the functions; otherwise the process of each job does.
    """

    def __init__(self, make_job: Callable[[dict[str, Any]], Any], detach: Callable[[], None], load: bool = True):
        self.connection, theirs = Pipe()
        self._sending = threading.Lock()  # commands come in a thread
        self._started_at = time.monotonic()
        self.loaded: Loaded | None = None
        worker = os.getpid()
        with blocked_signals():
            self.pid = os.fork()
            if self.pid == 0:
                self.connection.close()
                be_template(worker, theirs, make_job, detach, load)
        theirs.close()

    def send(self, message: Run | Signal) -> None:
        """Ask for something; one that has died is found out when its answer is read."""
        with self._sending, suppress(OSError):
            self.connection.send(message)

    def close(self) -> None:
        """End it, with what it has started; as long as it loads the functions, it does not listen."""
        self.connection.close()
        if self.loaded is None:
            processes.kill(self.pid)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def is_current(self) -> bool:
        """Tell whether it is there, and no file that it has loaded functions from is another one now.

        One that could not load them is old after a second: the reason may have been a database that was away, or a
        file that is there now. Call it between two jobs only: it takes what the template has said.
        """
        try:
            if self.connection.poll() and isinstance(message := self.connection.recv(), Loaded):
                self.loaded = message
        except (EOFError, OSError):
            return False
        if self.loaded is None:
            return True
        if self.loaded.error and time.monotonic() > self._started_at + RETRY_SECONDS:
            return False
        return self.loaded.sources == modification_times(self.loaded.sources)
