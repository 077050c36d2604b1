"""The supervisor: the worker's part in a run. It keeps a template that is up to date, and ends what is to end."""

import signal
import threading
from collections.abc import Callable
from logging import Logger
from typing import Any

from launchpad.worker.ending import Ending
from launchpad.worker.memory import MemoryEnd
from launchpad.worker.messages import Ended, Loaded, Run, Signal, Started
from launchpad.worker.processes import Usage
from launchpad.worker.template import Template

STEP_SECONDS = 0.1  # between two looks at the clock while a job runs
MAX_LOAD_SECONDS = 120.0  # for the functions to be loaded


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

    def run(self, run: Run, seconds: float, tick: Callable[[], None]) -> tuple[Ended, Ending]:
        """Run a job, and return how it ended when nothing of it is left.

        Args:
            run: the job.
            seconds: its limit of time; below 0 for none.
            tick: called several times a second meanwhile.
        """
        ending = self._ending or Ending(self._clean_up_seconds)
        if seconds > 0:
            ending.limit(MAX_LOAD_SECONDS + seconds)
        try:
            return self._ended(run, ending, seconds, tick), ending
        finally:
            with self._lock:
                self._ending, self.pid = None, 0

    def _ended(self, run: Run, ending: Ending, seconds: float, tick: Callable[[], None]) -> Ended:
        template, is_sent = self.prepare(), False
        while True:
            if template.loaded and not is_sent:
                if template.loaded.error:
                    return Ended(0, {"error": template.loaded.error}, Usage())
                if template.loaded.threads:
                    template = self._without_functions(template.loaded)
                template.send(run)
                is_sent = True
            message = self._next_message(template, ending, tick, is_sent)
            if isinstance(message, Loaded):
                template.loaded = message
            elif isinstance(message, Started):
                self.pid = message.pid
                if seconds > 0:  # that the functions were loaded for it is not the job's time
                    ending.limit(seconds)
            elif isinstance(message, Ended):
                return message

    def _without_functions(self, loaded: Loaded) -> Template:
        """Start a template that loads no functions: a process that has threads must not be forked."""
        self._log.warning(
            "The process of each job imports the functions anew, which is slower, since the import starts threads: %s",
            loaded.threads,
        )
        self.close()
        self._template = self._start_template(False)
        self._template.loaded = Loaded(sources=loaded.sources)  # when these change, it is tried again
        return self._template

    def _next_message(self, template: Template, ending: Ending, tick: Callable[[], None], is_sent: bool) -> Any:
        """Wait for the template to say something, and meanwhile see to the end of what runs."""
        while not template.connection.poll(STEP_SECONDS):
            tick()
            if is_sent and not self.pid:  # in a moment there will be one to send signals to
                continue
            with self._lock:
                number = ending.next_signal()
            if number and not is_sent:  # the functions are still being loaded
                if ending.reason == "limit":
                    self.close()
                return Ended(number, None, Usage())
            if number:
                template.send(Signal(number))
        try:
            return template.connection.recv()
        except (EOFError, OSError):
            self.close()
            return Ended(signal.SIGKILL, None, Usage(), MemoryEnd("unknown"))

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
