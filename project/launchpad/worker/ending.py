"""How a run is ended before its time: it is interrupted, has some seconds to clean up, and is then killed."""

import signal
import time
from math import inf
from typing import Literal

Reason = Literal["", "stop", "limit", "shutdown"]
AGAIN_SECONDS = 0.5  # after which a second stop means that it is to be at once; who asks, asks several times
ABORT_SECONDS = 0.5  # for faulthandler to tell the log where a job was that did not end in time


class Ending:
    """When a run is to be interrupted and killed, and why; times are those of the monotonic clock.

    Args:
        clean_up_seconds: how long it may clean up once it is interrupted.
    """

    def __init__(self, clean_up_seconds: float):
        self.reason: Reason = ""
        self._clean_up_seconds = clean_up_seconds
        self._limit_at = self._shutdown_at = self._kill_at = inf
        self._interrupted_at = 0.0
        self._is_aborted = False
        self._asked: list[int] = []

    def limit(self, seconds: float) -> None:
        """Interrupt the run in some seconds, since its time is over then."""
        self._limit_at = time.monotonic() + seconds

    def stop(self) -> None:
        """Interrupt the run now; if it was interrupted before, for whatever reason, kill it."""
        if not self.reason:
            self._interrupt("stop")
        elif time.monotonic() > self._interrupted_at + AGAIN_SECONDS:
            self.reason = "stop"
            self.kill()

    def shut_down(self, grace_seconds: float) -> None:
        """Interrupt the run in some seconds, if it has not ended by itself."""
        self._shutdown_at = min(self._shutdown_at, time.monotonic() + grace_seconds)

    def kill(self) -> None:
        """Kill the run now."""
        self._kill_at, self._is_aborted = time.monotonic(), True

    def next_signal(self) -> int | None:
        """Return the signal that the process is due now, if there is one."""
        moment = time.monotonic()
        if not self.reason and moment >= self._limit_at:
            self._interrupt("limit")
        elif not self.reason and moment >= self._shutdown_at:
            self._interrupt("shutdown")
        if self._asked:
            return self._asked.pop()
        if moment < self._kill_at:
            return None
        if self.reason == "limit" and not self._is_aborted:
            self._kill_at, self._is_aborted = moment + ABORT_SECONDS, True
            return signal.SIGABRT
        self._kill_at = moment + 1.0  # again, should it be needed
        return signal.SIGKILL

    def _interrupt(self, reason: Reason) -> None:
        self.reason = reason
        self._asked.append(signal.SIGTERM)
        self._interrupted_at = time.monotonic()
        self._kill_at = self._interrupted_at + self._clean_up_seconds
