"""Tells Redis that a job is alive, in a thread: so a job has its limit, and can be stopped, while Redis is away."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import Logger

from redis.exceptions import RedisError


class Heartbeat:
    """Calls a function now and then while a job runs.

    Args:
        beat: tells Redis that this job is alive; it may take as long as Redis is away.
        seconds: from one beat to the next.
        log: where it says what has failed.
    """

    def __init__(self, beat: Callable[[], None], seconds: float, log: Logger):
        self._beat, self._seconds, self._log = beat, seconds, log
        self._is_due = threading.Event()
        self._lock = threading.Lock()  # what is told of a job is told before its end
        self._is_running = False
        self._thread: threading.Thread | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let it beat meanwhile; when this returns, the last beat is over."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        self._is_running = True
        try:
            yield
        finally:
            with self._lock:
                self._is_running = False

    def hurry(self) -> None:
        """Let it beat at once: there is something new to tell."""
        self._is_due.set()

    def _run(self) -> None:
        while True:
            self._is_due.wait(self._seconds)
            self._is_due.clear()
            with self._lock:
                if not self._is_running:
                    continue
                try:
                    self._beat()
                except RedisError as error:  # the end of the job will be told, or the worker ends then
                    self._log.warning("The heartbeat of a job could not be told: %s", error)
