"""What the template process does: it loads the functions, and forks the processes that run them."""

import gc
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import Any, NoReturn

from launchpad.functions.mistakes import one_line
from launchpad.worker import application, processes, runner
from launchpad.worker.job_process import JobProcess, MakeJob
from launchpad.worker.log_capture import let_functions_configure, set_up_logging, set_up_streams
from launchpad.worker.memory import MemoryWatch
from launchpad.worker.messages import Ended, Fork, Loaded, Ready, Signal, Watch
from launchpad.worker.run_folder import remove_leftovers
from launchpad.worker.signals import blocked_signals
from launchpad.worker.warm import WarmProcess


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
    make_job: MakeJob,
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
        _Forker(connection, make_job).serve()
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
    functions = {} if error else application.functions()
    return Loaded(
        error,
        times,
        ", ".join(threads),
        warm=frozenset(name for name, function in functions.items() if function.warm),
        memory={name: function.memory for name, function in functions.items() if function.memory},
    )


class _Forker:
    """What the template does: it forks processes, and when one has ended, ends all that it has left behind."""

    def __init__(self, connection: Connection, make_job: MakeJob):
        self._connection, self._make_job = connection, make_job
        self._processes: dict[int, JobProcess] = {}
        self._usage = processes.Usage()  # since the last process has ended
        self._memory = MemoryWatch()
        self._wakeup, self._waking = os.pipe()
        os.set_blocking(self._waking, False)
        self._is_orphan = False
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, self._note_that_the_worker_has_gone)
        signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Follow what the worker asks for, until it has gone."""
        while not self._is_orphan:
            waiting: list[Any] = [self._connection, self._wakeup]
            ready = select.select(waiting, [], [], self._memory.look_seconds)[0]
            if self._memory.pid and self._memory.is_over(self._processes_of(self._memory.pid)):
                self._kill(self._memory.pid)
            if self._wakeup in ready:
                os.read(self._wakeup, 1024)
                self._reap()
            if self._connection in ready:
                try:
                    self._follow(self._connection.recv())
                except (EOFError, OSError):
                    break
        for pid in self._processes:
            self._kill(pid)
        processes.kill_descendants(self._usage, set())
        for process in self._processes.values():
            process.folder.remove()

    def _note_that_the_worker_has_gone(self, *_: object) -> None:
        self._is_orphan = True

    def _processes_of(self, pid: int) -> list[int]:
        """Return a process with all that it has started, and what has lost its parent."""
        return processes.descendants(os.getpid(), self._processes.keys() - {pid})

    def _kill(self, pid: int) -> None:
        processes.kill_group(pid)
        processes.kill(pid)

    def _follow(self, message: Fork | Signal | Watch) -> None:
        if isinstance(message, Fork):
            self._fork(message.function)
        elif message.pid not in self._processes:
            pass  # it has ended meanwhile, and the worker will hear of it
        elif isinstance(message, Watch):
            self._memory.begin(message.pid, message.limit)
        elif message.number == signal.SIGKILL:
            self._kill(message.pid)
        else:
            processes.kill(message.pid, message.number)

    def _fork(self, function: str) -> None:
        self._memory.note()
        try:
            process = WarmProcess(function) if function else JobProcess()
            with blocked_signals():
                process.start(self._make_job, self._detach)
        except OSError as error:  # there is no space for its folder, or no process more
            self._connection.send(Ready(function, 0, one_line(error)))
            return
        self._processes[process.pid] = process
        self._connection.send(Ready(function, process.pid))
        send_handle(self._connection, process.workers_end.fileno(), None)
        process.workers_end.close()

    def _detach(self) -> None:
        """Let go of what is the template's only, in a process that was forked."""
        signal.set_wakeup_fd(-1)
        self._connection.close()
        for fd in (self._wakeup, self._waking, *(process.folder.lock for process in self._processes.values())):
            os.close(fd)

    def _reap(self) -> None:
        for pid, status, used in processes.reap():
            self._usage.add(used)
            if process := self._processes.pop(pid, None):
                self._end(process, status)

    def _end(self, process: JobProcess, status: int) -> None:
        """Tell the worker that a process has ended, when nothing of it is left."""
        if not processes.kill_descendants(self._usage, set(self._processes)):
            print("Processes that a job has started could not be ended.", file=sys.stderr)
        process.folder.remove()
        outcome, memory = process.outcome, self._memory.end(process.pid, status)
        self._connection.send(Ended(process.pid, status, outcome.read(), self._usage, memory, runs=outcome.runs()))
        self._usage = processes.Usage()
