"""What the template process does: it loads the functions, and forks a process for each run."""

import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn

from launchpad.functions.catalog import Function
from launchpad.worker import application, processes
from launchpad.worker.job_process import Outcome, be_job_process
from launchpad.worker.log_capture import let_functions_configure
from launchpad.worker.memory import MemoryWatch
from launchpad.worker.messages import Ended, Loaded, Run, Signal, Started
from launchpad.worker.run_folder import RunFolder, remove_leftovers
from launchpad.worker.signals import blocked_signals
from launchpad.worker.warm import WarmProcess

MEMORY_SECONDS = 0.05  # between two looks at the memory of a job that has a limit


def modification_times(files: Iterable[str]) -> dict[str, int]:
    """Return the modification time of each file; 0 where there is none."""

    def when(file: str) -> int:
        try:
            return os.stat(file).st_mtime_ns
        except OSError:
            return 0

    return {file: when(file) for file in files}


def be_template(
    worker: int,
    connection: Connection,
    make_job: Callable[[dict[str, Any]], Any],
    detach: Callable[[], None],
    load: bool,
) -> NoReturn:
    """Be the template, in the process that was just forked for it, until the worker has ended."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # it ends with the worker, when that closes the pipe
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        detach()
        processes.adopt_orphans()
        processes.end_with_parent(worker, signal.SIGHUP)
        let_functions_configure()
        remove_leftovers()
        if load:
            connection.send(_load())
        gc.collect()
        gc.freeze()  # what is never looked at again stays shared with the processes of the jobs
        _Forker(connection, make_job, load).serve()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _load() -> Loaded:
    """Import the functions, and tell the source files of the owner: those below the working directory."""
    error = ""
    started = time.time_ns()
    try:
        application.application()
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
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    return Loaded(error, times, ", ".join(threads))


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

    def __init__(self, connection: Connection, make_job: Callable[[dict[str, Any]], Any], is_loaded: bool):
        self._connection, self._make_job, self._is_loaded = connection, make_job, is_loaded
        self._own_outcome = self._outcome = Outcome()  # of the run: that of a warm process is another
        self._pid = 0
        self._folder: RunFolder | None = None
        self._processes: dict[str, WarmProcess] = {}
        self._warm: WarmProcess | None = None  # the one that runs the job, if one does
        self._is_interrupted = False
        self._usage = processes.Usage()
        self._memory = MemoryWatch()
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
            ready = wait(waiting, MEMORY_SECONDS if self._pid and self._memory.limit else None)
            if self._pid and self._memory.is_over(self._processes_of_run()):
                self._kill()
            if self._wakeup in ready:
                os.read(self._wakeup, 1024)
                self._reap()
            if self._warm and self._warm.connection in ready:
                self._end_warm_run(self._warm)
            if self._connection in ready:
                try:
                    self._follow(self._connection.recv())
                except (EOFError, OSError):
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
            try:
                self._start(message)
            except OSError as error:  # there is no space for its folder, or no process more
                self._end(Ended(0, {"error": one_line(error)}, self._usage))
        elif self._pid and message.number == signal.SIGKILL:
            self._kill()
        elif self._pid:
            self._is_interrupted = True
            processes.kill(self._pid, message.number)

    def _kill(self) -> None:
        processes.kill_group(self._pid)
        processes.kill(self._pid)

    def _processes_of_run(self) -> list[int]:
        return processes.descendants(os.getpid(), self._kept())

    def _start(self, run: Run) -> None:
        self._usage, self._is_interrupted = processes.Usage(), False
        self._folder = folder = RunFolder()
        job = self._make_job(run.state)
        function = _function_of(job) if self._is_loaded else None
        self._memory.begin(function.memory if function else None)
        with blocked_signals():
            if function and function.warm:
                self._hand(function.name, run.state, folder.path)
            else:
                self._fork(job, folder.path)
        self._connection.send(Started(self._pid))

    def _fork(self, job: Any, folder: Path) -> None:
        self._outcome = self._own_outcome
        self._outcome.clear()
        template = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            self._detach()
            be_job_process(template, job, folder, self._outcome)

    def _detach(self) -> None:
        """Let go of what is the template's, in a process that was forked: the worker sees by it when that ends."""
        self._connection.close()
        os.close(self._wakeup)

    def _hand(self, function: str, state: dict[str, Any], folder: Path) -> None:
        if function not in self._processes:
            process = WarmProcess()
            process.start(os.getpid(), self._make_job, self._detach)
            self._processes[function] = process
        self._warm = self._processes[function]
        self._pid, self._outcome = self._warm.pid, self._warm.outcome
        self._warm.hand(state, folder)

    def _reap(self) -> None:
        for pid, status, used in processes.reap():
            self._processes = {name: kept for name, kept in self._processes.items() if kept.pid != pid}
            self._usage.add(used)
            if pid == self._pid:
                self._end(Ended(status, self._outcome.read(), self._usage, self._memory.end(status)))

    def _end_warm_run(self, process: WarmProcess) -> None:
        """End a run whose process is kept: it has told what it used."""
        try:
            self._usage = process.connection.recv()
        except EOFError:  # it has ended: that is seen by itself
            self._warm = None
            return
        if self._is_interrupted:  # which it may notice only now: it would end the next run
            self._processes = {name: kept for name, kept in self._processes.items() if kept is not process}
        self._end(Ended(0, self._outcome.read(), self._usage))

    def _end(self, ended: Ended) -> None:
        self._pid, self._warm = 0, None
        if not processes.kill_descendants(self._usage, self._kept()):
            print("Processes that a job has started could not be ended.", file=sys.stderr)
        self._remove_folder()
        self._connection.send(ended)

    def _remove_folder(self) -> None:
        if self._folder:
            self._folder.remove()
        self._folder = None


def _function_of(job: Any) -> Function | None:
    """Return the function of a job; where there is none, its process says what is wrong."""
    try:
        return application.functions().get(job.args[1])
    except Exception:  # the job's data may hold anything
        return None
