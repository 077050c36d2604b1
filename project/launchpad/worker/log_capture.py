"""The log of a job: what it prints, logs and warns of, and what its child processes print, all in one order.

As long as the function runs, stdout and stderr are a pipe, whose other end has the log collector of the worker.
"""

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, wraps
from io import TextIOWrapper
from typing import Any

from rq.job import Job

from launchpad.worker.log_pipe import MARK, LogPipe, begin

FLUSH_SECONDS = 1.0  # that a function that has returned waits for its log to be written

_container: TextIOWrapper | None = None  # its stdout, while that of this process is the log's


@contextmanager
def captured(job: Job) -> Iterator[None]:
    """Write what this process and its children print into the log of the job that it runs."""
    pipe = redirected(job)
    if pipe is None:
        yield
        return
    has_failed = True
    try:
        _print_what_is_logged()
        yield
        has_failed = False
    finally:  # so the log is whole when the job has ended, unless Redis is away; a child that goes on is to end, too
        _flush()
        with suppress(OSError):  # the function may have closed all that there is
            pipe.end(FLUSH_SECONDS, has_failed)


def redirected(job: Job) -> LogPipe | None:
    """Let stdout and stderr be those of the job's log, which begins; outside a worker there is none."""
    pipe = begin(job)
    if pipe is not None:
        _redirect(pipe.sink)
    return pipe


def _redirect(sink: int) -> None:
    """Let the stdout and stderr of everybody in this process be the log's; what RQ logs is the container's only."""
    global _container
    if _container is None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                # By lines, even with PYTHONUNBUFFERED: a killed job has lost none, and threads do not cut each other's.
                stream.reconfigure(
                    encoding="utf-8", errors="backslashreplace", line_buffering=True, write_through=False
                )
        _container = open(os.dup(1), "w", buffering=1)  # noqa: SIM115 - as long as the process lives
        for handler in logging.getLogger("rq.worker").handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(_container)
    for fd in (1, 2):
        os.dup2(sink, fd)


def _print_what_is_logged() -> None:
    """Print what is logged and warned of, with a mark for its level, unless the owner has set up where that goes."""
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(_handler())
        logging.captureWarnings(True)
        if root.level == logging.WARNING:  # the default means that nobody has set it
            root.setLevel(logging.INFO)


@cache
def _handler() -> logging.Handler:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Marked())
    handler.addFilter(lambda record: not record.name.startswith("rq."))
    return handler


def let_functions_configure() -> None:
    """Let `logging.basicConfig` work as in a script, which has no handler before: ours gives way to what it sets up."""
    original = logging.basicConfig

    @wraps(original)
    def configure(**options: Any) -> None:
        logging.getLogger().removeHandler(_handler())
        logging.captureWarnings(False)
        original(**options)

    logging.basicConfig = configure


class _Marked(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        mark = f"{MARK}{min(max(record.levelno // 10, 1), 5)}"
        return "\n".join(mark + line for line in re.split(r"\r?\n|\r", super().format(record).rstrip("\n")))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the function may have closed it
            stream.flush()
