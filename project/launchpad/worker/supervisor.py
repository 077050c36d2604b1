"""The supervisor: the worker's part in a run. It keeps a template that is up to date, and ends what is to end."""

import select
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from logging import Logger
from math import inf
from typing import Any, NamedTuple

from launchpad.worker.ending import Ending
from launchpad.worker.memory import MemoryEnd
from launchpad.worker.messages import Ended, Finished, Loaded, Ready, Signal, Watch
from launchpad.worker.processes import Usage
from launchpad.worker.template import Process, Template

STEP_SECONDS = 0.1  # between two looks at the clock while a job runs
MAX_LOAD_SECONDS = 120.0  # for the functions to be loaded
MAX_PROCESSES = 3  # for a run; another is taken where one has died before it began


class Run(NamedTuple):
    """A job that is to be run: see `Supervisor.run`."""

    function: str
    state: dict[str, Any]
    seconds: float
    ending: Ending
    tick: Callable[[], None]


class Supervisor:
    """Runs jobs, one at a time, in processes that a template forks.

    Args:
        start_template: starts a template process, which loads the functions, or does not.
        end_orphans: ends what a template has left behind.
        clean_up_seconds: how long a job that is interrupted may clean up.
        log: where it says what the owner should know.
    """

    def __init__(
        self,
        start_template: Callable[[bool], Template],
        end_orphans: Callable[[], None],
        clean_up_seconds: float,
        log: Logger,
    ):
        self._start_template, self._end_orphans = start_template, end_orphans
        self._clean_up_seconds, self._log = clean_up_seconds, log
        self._template: Template | None = None
        self._ending: Ending | None = None
        self._lock = threading.RLock()  # stops come in a thread
        self.pid = 0  # of the process of the job that runs

    def prepare(self) -> Template:
        """Return a template that is up to date, starting it if there is none."""
        if self._template is not None and not self._template.is_current():
            self.close()
        if self._template is None:
            self._template = self._start_template(True)
            self._template.ask_for("")  # when the functions are loaded
        return self._template

    @property
    def is_running(self) -> bool:
        """Whether a job runs."""
        return self._ending is not None

    @property
    def is_stopping(self) -> bool:
        """Whether the job that runs was interrupted."""
        return self._ending is not None and bool(self._ending.reason)

    def begin(self) -> None:
        """Say that a run begins: from now on it can be stopped."""
        with self._lock:
            self._ending = Ending(self._clean_up_seconds)

    def run(
        self, function: str, state: dict[str, Any], seconds: float, tick: Callable[[], None]
    ) -> tuple[Ended, Ending]:
        """Run a job, and return how it ended when nothing of it is left.

        Args:
            function: the name of its function.
            state: that of RQ's job.
            seconds: its limit of time; below 0 for none.
            tick: called several times a second meanwhile.
        """
        ending = self._ending or Ending(self._clean_up_seconds)
        try:
            for _ in range(MAX_PROCESSES):
                ended = self._run_once(Run(function, state, seconds, ending, tick))
                if ended.has_begun or ending.reason:
                    break
            return ended, ending
        finally:
            with self._lock:
                self._ending, self.pid = None, 0

    def _run_once(self, run: Run) -> Ended:
        run.ending.limit(MAX_LOAD_SECONDS)
        template = self.prepare()
        process = self._take_process(template, run)
        if isinstance(process, Ended):
            return process
        template, self.pid = self._template or template, process.pid
        if limit := template.memory_of(run.function):
            template.send(Watch(process.pid, limit))
        run.ending.limit(run.seconds if run.seconds > 0 else inf)  # the time of the import is not the job's
        process.hand(run.state)
        template.ask_for("")  # which is forked while this one works
        return self._wait_for_end(template, process, run)

    def _take_process(self, template: Template, run: Run) -> Process | Ended:
        """Return the process for a run; or, if there will be none, the end of the run."""
        kept_for = ""
        while True:
            if loaded := template.loaded:
                if loaded.error:
                    return Ended(0, 0, {"error": loaded.error}, Usage())
                if loaded.threads:
                    template = self._without_functions(loaded)
                kept_for = run.function if run.function in loaded.warm else ""
                if process := template.take(kept_for):
                    return process
                template.ask_for(kept_for)
            message = self._next_message(template, None, run)
            if isinstance(message, Ended) and not message.pid:
                return message
            if isinstance(message, Ready) and message.error and message.function == kept_for:
                return Ended(0, 0, {"error": message.error}, Usage())

    def _without_functions(self, loaded: Loaded) -> Template:
        """Start a template that loads no functions: a process that has threads must not be forked."""
        self._log.warning(
            "The process of each job imports the functions anew, which is slower, since the import starts threads: %s",
            loaded.threads,
        )
        self.close()
        self._template = self._start_template(False)
        self._template.loaded = replace(loaded, threads="")  # when the sources change, it is tried again
        return self._template

    def _wait_for_end(self, template: Template, process: Process, run: Run) -> Ended:
        while True:
            message = self._next_message(template, process, run)
            if isinstance(message, Finished) and not run.ending.reason:
                if template.memory_of(run.function):
                    template.send(Watch(process.pid, 0))
                process.cpu_seconds += message.usage.cpu_seconds
                template.keep(process)
                return Ended(process.pid, 0, message.outcome, message.usage)
            if isinstance(message, Finished):  # a signal may be on its way, and would reach the next run
                template.send(Signal(process.pid, signal.SIGKILL))
            elif isinstance(message, Ended) and message.pid == process.pid:
                return process.end_of_run(message)

    def _next_message(self, template: Template, process: Process | None, run: Run) -> Any:
        """Wait for what the template or the process says, and meanwhile see to the end of what runs.

        Without a process, an `Ended` without a process id says that there will be none.
        """
        while True:
            said_by = [template.connection, *([process.connection] if process and process.function else [])]
            ready = select.select(said_by, [], [], STEP_SECONDS)[0]
            try:
                if process and process.connection in ready:
                    return process.receive()
                if ready:
                    return template.receive()
            except (EOFError, OSError):
                self.close()
                # Nobody can tell that what was handed over has not begun.
                pid, runs = (process.pid, process.handed) if process else (0, 0)
                return Ended(pid, signal.SIGKILL, None, Usage(), MemoryEnd("unknown"), runs)
            run.tick()
            if process is None:
                if number := self._next_signal(run):  # the functions are still being loaded
                    if run.ending.reason == "limit":
                        self.close()
                    return Ended(0, number, None, Usage())
            elif number := self._next_signal(run):
                template.send(Signal(process.pid, number))

    def _next_signal(self, run: Run) -> int | None:
        with self._lock:
            return run.ending.next_signal()

    def stop(self) -> None:
        """Interrupt the job that runs; asked again, kill it."""
        with self._lock:
            if self._ending:
                self._ending.stop()

    def kill(self) -> None:
        """Kill the job that runs."""
        with self._lock:
            if self._ending:
                self._ending.kill()

    def shut_down(self, grace_seconds: float) -> None:
        """Let the job that runs go on for some seconds, and then interrupt it."""
        with self._lock:
            if self._ending:
                self._ending.shut_down(grace_seconds)

    def close(self) -> None:
        """End the template."""
        if self._template is not None:
            self._template.close()
            self._end_orphans()
            self._template = None
