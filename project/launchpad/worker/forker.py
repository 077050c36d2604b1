"""What the template process does: it loads the functions, and forks a process for each run."""

import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NoReturn

from launchpad.functions.catalog import Function
from launchpad.functions.mistakes import one_line
from launchpad.worker import application, processes, runner
from launchpad.worker.job_process import JobProcess, MakeJob
from launchpad.worker.log_capture import let_functions_configure, set_up_logging, set_up_streams
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
        set_up_streams()
        let_functions_configure()
        remove_leftovers()
        if load:
            connection.send(_load())
        set_up_logging()
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
        runner.load()
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


class _Forker:
    """What the template does: one job at a time."""

    def __init__(self, connection: Connection, make_job: MakeJob, is_loaded: bool):
        self._connection, self._make_job, self._is_loaded = connection, make_job, is_loaded
        self._next: JobProcess | None = None  # which is ready for a job of its own
        self._kept: dict[str, JobProcess] = {}  # by the function that they are kept for
        self._running: JobProcess | None = None
        self._is_signalled = False  # whether what runs was
        self._folder: RunFolder | None = None
        self._usage = processes.Usage()
        self._memory = MemoryWatch()
        self._wakeup, self._waking = os.pipe()
        os.set_blocking(self._waking, False)
        self._is_orphan = False
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, self._note_that_the_worker_has_gone)
        signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Follow what the worker asks for, until it has gone."""
        self._fork_next()
        while not self._is_orphan:
            waiting: list[Any] = [self._connection, self._wakeup]
            if self._running and self._running.is_kept:
                waiting.append(self._running.connection)
            ready = wait(waiting, MEMORY_SECONDS if self._running and self._memory.limit else None)
            if self._running and self._memory.is_over(self._processes_of_run()):
                self._kill(self._running)
            if self._wakeup in ready:
                os.read(self._wakeup, 1024)
                self._reap()
            if self._running and self._running.connection in ready:
                self._end_of_kept(self._running)
            if self._connection in ready:
                try:
                    self._follow(self._connection.recv())
                except (EOFError, OSError):
                    break
        for process in (self._running, *self._idle()):
            if process:
                self._kill(process)
        processes.kill_descendants(self._usage, set())
        self._remove_folder()

    def _note_that_the_worker_has_gone(self, *_: object) -> None:
        self._is_orphan = True

    def _idle(self) -> list[JobProcess]:
        """Return the processes that wait for a job."""
        ready = [*self._kept.values(), *([self._next] if self._next else [])]
        return [process for process in ready if process is not self._running]

    def _spared(self) -> set[int]:
        return {process.pid for process in self._idle()}

    def _processes_of_run(self) -> list[int]:
        return processes.descendants(os.getpid(), self._spared())

    def _kill(self, process: JobProcess) -> None:
        self._is_signalled = True
        processes.kill_group(process.pid)
        processes.kill(process.pid)

    def _follow(self, message: Run | Signal) -> None:
        if isinstance(message, Run):
            try:
                self._start(message)
            except OSError as error:  # there is no space for its folder, or no process more
                self._end(Ended(0, {"error": one_line(error)}, self._usage))
        elif self._running and message.number == signal.SIGKILL:
            self._kill(self._running)
        elif self._running:
            self._is_signalled = True
            processes.kill(self._running.pid, message.number)

    def _start(self, run: Run) -> None:
        self._usage, self._is_signalled = processes.Usage(), False
        self._folder = folder = RunFolder()
        function = application.functions().get(run.function) if self._is_loaded else None
        self._memory.begin(function.memory if function else None)
        self._running = self._take(function)
        self._running.hand(run.state, folder.path)
        self._connection.send(Started(self._running.pid))

    def _take(self, function: Function | None) -> JobProcess:
        """Return the process for a run of a function."""
        if function and function.warm:
            if function.name not in self._kept:
                self._kept[function.name] = self._fork(WarmProcess())
            return self._kept[function.name]
        taken, self._next = self._next or self._fork(JobProcess()), None
        return taken

    def _fork(self, process: JobProcess) -> JobProcess:
        with blocked_signals():
            process.start(os.getpid(), self._make_job, self._detach)
        return process

    def _fork_next(self) -> None:
        with suppress(OSError):  # no process more: the next run tells
            self._next = self._next or self._fork(JobProcess())

    def _detach(self) -> None:
        """Let go of what is the template's only, in a process that was forked."""
        signal.set_wakeup_fd(-1)
        for fd in (self._wakeup, self._waking):
            os.close(fd)
        for connection in (self._connection, *(process.connection for process in self._idle())):
            connection.close()

    def _reap(self) -> None:
        for pid, status, used in processes.reap():
            self._usage.add(used)
            for name in [name for name, kept in self._kept.items() if kept.pid == pid]:
                self._usage.cpu_seconds -= self._kept.pop(name).cpu_seconds
            if self._next and self._next.pid == pid:
                self._next = None
            if self._running and self._running.pid == pid:
                self._end(Ended(status, self._running.outcome.read(), self._usage, self._memory.end(status)))

    def _end_of_kept(self, process: JobProcess) -> None:
        """End a run whose process is kept: it has told what it used."""
        try:
            usage = process.connection.recv()
        except (EOFError, OSError):  # it ends: that is seen by itself
            process.is_kept = False
            return
        if self._is_signalled:  # which may reach it in its next run only
            self._kill(process)
            process.is_kept = False
            return
        process.cpu_seconds += usage.cpu_seconds
        self._usage = usage
        self._end(Ended(0, process.outcome.read(), usage))

    def _end(self, ended: Ended) -> None:
        """Tell the worker that a run has ended, when nothing of it is left; then there is time for the next process."""
        self._running = None
        if not processes.kill_descendants(self._usage, self._spared()):
            print("Processes that a job has started could not be ended.", file=sys.stderr)
        # One that has ended just now may have been waited for among what the job has left behind.
        self._kept = {name: kept for name, kept in self._kept.items() if processes.is_child(kept.pid)}
        if self._next and not processes.is_child(self._next.pid):
            self._next = None
        self._remove_folder()
        self._connection.send(ended)
        self._fork_next()

    def _remove_folder(self) -> None:
        if self._folder:
            self._folder.remove()
        self._folder = None
