"""The limit of time of a job."""

import signal
from typing import Any

from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from launchpad.worker.signals import blocked_signals


class JobTimeout(BaseException):
    """The time of a job is over. No Exception, as RQ's is: many a job would take that for an error of its own."""


class TimeLimit(UnixSignalDeathPenalty):
    """RQ's limit of time, which a job cannot swallow."""

    _over = False

    def setup_death_penalty(self) -> None:
        """Start the clock, unless it runs for a shutdown that was asked for before the job began: there is one only."""
        with blocked_signals():
            if not signal.getitimer(signal.ITIMER_REAL)[0]:
                super().setup_death_penalty()

    def handle_death_penalty(self, *signal: Any) -> None:
        """Interrupt the job; anything else that has a limit, as RQ does."""
        if self._exception is JobTimeoutException:
            self._over = True
            raise JobTimeout(f"Task exceeded maximum timeout value ({self._timeout} seconds)")
        super().handle_death_penalty(*signal)

    def __exit__(self, type: Any, value: Any, traceback: Any) -> None:
        """Stop the clock; a job that has swallowed the interruption is told again."""
        super().__exit__(type, value, traceback)
        if self._over and type is not JobTimeout:
            self.handle_death_penalty()
