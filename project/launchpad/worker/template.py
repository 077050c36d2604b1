"""The template process: it has the app and its functions loaded, and forks a process for each job; it runs none.

    worker     takes jobs and records their ends; talks to Redis, and to its template by a pipe
    template   forks, waits, kills what a job has left behind, tells what it used
    job        runs one function, and ends

So a job has a fresh process, and yet nothing is to be imported for it. When a source file has changed, the worker
starts another template.
"""

import gc
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple, NoReturn

from launchpad.worker import processes
from launchpad.worker.job_process import Outcome, be_job_process
from launchpad.worker.signals import blocked_signals
from launchpad.worker.warm import WarmProcess


class Run(NamedTuple):
    """Asks for a process for the job of RQ with this state."""

    state: dict[str, Any]
    warm: str  # the function whose process is kept, or ""


class Signal(NamedTuple):
    """Asks for a signal to the process of the job; with SIGKILL all that it has started is killed, too."""

    number: int


@dataclass
class Loaded:
    """Tells that the functions are loaded, from which files, and what has failed; modification times in nanoseconds."""

    error: str
    sources: dict[str, int]


class Started(NamedTuple):
    """Tells the process of a job."""

    pid: int


@dataclass
class Ended:
    """Tells that a process and all that it has started have ended: how, what it left, and what it used."""

    status: int
    outcome: dict[str, Any] | None
    usage: processes.Usage


class Template:
    """The worker's side of its template process."""

    def __init__(
        self, make_job: Callable[[dict[str, Any]], Any], load: Callable[[], object], detach: Callable[[], None]
    ):
        """Start it.

        Args:
            make_job: makes RQ's job of its state.
            load: imports the functions.
            detach: lets go of the worker's connections, in the template.
        """
        self.connection, theirs = Pipe()
        self._sending = threading.Lock()  # commands come in a thread
        self.loaded: Loaded | None = None
        worker = os.getpid()
        with blocked_signals():
            self.pid = os.fork()
            if self.pid == 0:
                self.connection.close()
                _be_template(worker, theirs, make_job, load, detach)
        theirs.close()

    def send(self, message: Run | Signal) -> None:
        """Ask for something; one that has died is found out when its answer is read."""
        with self._sending, suppress(OSError):
            self.connection.send(message)

    def kill(self) -> None:
        """Kill it, as when the functions take too long to load."""
        processes.kill(self.pid)

    def close(self) -> None:
        """End it, with what it has started."""
        self.connection.close()
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def has_changed(self) -> bool:
        """Tell whether a file that it has loaded functions from is another one now."""
        return self.loaded is not None and self.loaded.sources != modification_times(self.loaded.sources)


def modification_times(files: Iterable[str]) -> dict[str, int]:
    """Return the modification time of each file; 0 where there is none."""

    def when(file: str) -> int:
        try:
            return os.stat(file).st_mtime_ns
        except OSError:
            return 0

    return {file: when(file) for file in files}


def _be_template(worker: int, connection: Connection, make_job: Any, load: Any, detach: Any) -> NoReturn:
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # it ends with the worker, when that closes the pipe
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        detach()
        processes.adopt_orphans()
        processes.end_with_parent(worker, signal.SIGHUP)
        loaded = _load(load)
        connection.send(loaded)
        gc.collect()
        gc.freeze()  # what is never looked at again stays shared with the processes of the jobs
        _Forker(connection, make_job).serve()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _load(load: Callable[[], object]) -> Loaded:
    """Import the functions, and tell the source files of the owner: those below the working directory."""
    error = ""
    started = time.time_ns()
    try:
        load()
    except BaseException as failure:
        traceback.print_exc()
        error = one_line(failure)
    files = [file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))]
    here = f"{Path.cwd()}/"
    own = [file for file in files if file.startswith(here) and "/site-packages/" not in file]
    if error:  # what could not be imported is not among the modules
        own += [str(file) for file in Path(here).glob("*.py")]
    # What was changed while it was loaded counts as not loaded.
    times = {file: when if when <= started else 0 for file, when in modification_times(own).items()}
    return Loaded(error, times)


def one_line(error: BaseException) -> str:
    """Write an error in one line: what it is, and where, in a file of the owner if it comes from one."""
    where = ""
    if isinstance(error, SyntaxError):
        where = f" ({error.filename}, line {error.lineno})"
    else:
        here = f"{Path.cwd()}/"
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(here)]
        if frames:
            where = f" ({frames[-1].filename.removeprefix(here)}, line {frames[-1].lineno}, in {frames[-1].name})"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}{where}"


class _Forker:
    """What the template does: one job at a time."""

    def __init__(self, connection: Connection, make_job: Callable[[dict[str, Any]], Any]):
        self._connection, self._make_job = connection, make_job
        self.outcome = Outcome()
        self._pid = 0
        self._folder = Path("none")
        self._processes: dict[str, WarmProcess] = {}
        self._warm: WarmProcess | None = None  # the one that runs the job, if one does
        self._usage = processes.Usage()
        self._wakeup, writing = os.pipe()
        os.set_blocking(writing, False)
        self._is_orphan = False
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, self._note_that_the_worker_has_gone)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Follow what the worker asks for, until it has gone."""
        while not self._is_orphan:
            waiting: list[Any] = [self._connection, self._wakeup]
            if self._warm:
                waiting.append(self._warm.connection)
            ready = wait(waiting)
            if self._wakeup in ready:
                os.read(self._wakeup, 1024)
                self._reap()
            if self._warm and self._warm.connection in ready:
                self._end_warm_run(self._warm)
            if self._connection in ready:
                try:
                    self._follow(self._connection.recv())
                except EOFError:
                    break
        for pid in (self._pid, *self._kept()):
            if pid:
                processes.kill_group(pid)
        processes.kill_descendants(self._usage, set())
        self._remove_folder()

    def _note_that_the_worker_has_gone(self, *_: object) -> None:
        self._is_orphan = True

    def _kept(self) -> set[int]:
        """Return the processes that are kept for a next run."""
        return {process.pid for process in self._processes.values() if process.pid != self._pid}

    def _follow(self, message: Run | Signal) -> None:
        if isinstance(message, Run):
            self._start(message)
        elif self._pid and message.number == signal.SIGKILL:
            processes.kill_group(self._pid)
            processes.kill(self._pid)
        elif self._pid:
            processes.kill(self._pid, message.number)

    def _start(self, run: Run) -> None:
        self._usage = processes.Usage()
        self._folder = Path(mkdtemp(prefix="job-"))
        job = self._make_job(run.state)
        with blocked_signals():
            if run.warm:
                self._hand(run.warm, job)
            else:
                self._fork(job)
        self._connection.send(Started(self._pid))

    def _fork(self, job: Any) -> None:
        self.outcome.clear()
        template = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            self._connection.close()
            os.close(self._wakeup)
            be_job_process(template, job, self._folder, self.outcome)

    def _hand(self, function: str, job: Any) -> None:
        if function not in self._processes:
            self._processes[function] = process = WarmProcess()
            process.start(os.getpid())
        self._warm = self._processes[function]
        self._pid = self._warm.pid
        self._warm.hand(job, self._folder)

    def _reap(self) -> None:
        for pid, status, used in processes.reap():
            self._processes = {name: kept for name, kept in self._processes.items() if kept.pid != pid}
            self._usage.add(used)
            if pid == self._pid:
                outcome = (self._warm or self).outcome.read()
                self._end(Ended(status, outcome, self._usage))

    def _end_warm_run(self, process: WarmProcess) -> None:
        """End a run whose process is kept: it has told what it used."""
        try:
            self._usage = process.connection.recv()
        except EOFError:  # it has ended: that is seen by itself
            self._warm = None
            return
        self._end(Ended(0, process.outcome.read(), self._usage))

    def _end(self, ended: Ended) -> None:
        self._pid, self._warm = 0, None
        if not processes.kill_descendants(self._usage, self._kept()):
            print("Processes that a job has started could not be ended.", file=sys.stderr)
        self._remove_folder()
        self._connection.send(ended)

    def _remove_folder(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
