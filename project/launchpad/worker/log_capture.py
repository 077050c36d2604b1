"""The log of a job: what it prints, logs and warns of, and what its child processes print, all in one order.

As long as the function runs, stdout and stderr are a pipe, whose other end has the log collector of the worker.
"""

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from io import TextIOWrapper
from typing import Any

from rq.job import Job

from launchpad.worker.log_pipe import MARK, begin, open_pipe

FLUSH_SECONDS = 1.0  # that a function that has returned waits for its log to be written

_TEXT: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace"}
_streams: dict[str, TextIOWrapper] = {}  # by their names in `sys`
_handlers = 0  # how many handlers of logging there are when a run begins


@contextmanager
def captured(job: Job) -> Iterator[None]:
    """Write what this process and its children print into the log of the job that it runs."""
    pipe = begin(job)
    if pipe is None:
        yield
        return
    capture()
    has_failed = True
    try:
        yield
        has_failed = False
    finally:  # so the log is whole when the job has ended, unless Redis is away; a child that goes on is to end, too
        _flush()
        with suppress(OSError):  # the function may have closed all that there is
            pipe.end(FLUSH_SECONDS, has_failed)


def set_up_streams() -> None:
    """Open stdout and stderr as the processes of jobs have them; call it in the template, which saves them the time.

    They write by lines, so a killed job has lost none, and threads do not cut each other's. What RQ logs stays the
    container's.
    """
    container = open(os.dup(1), "w", buffering=1)  # noqa: SIM115 - as long as the process lives
    for handler in logging.getLogger("rq.worker").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(container)
    for stream in (sys.stdout, sys.stderr):  # some module may have kept them
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(**_TEXT, line_buffering=True, write_through=False)
    for fd, name in ((1, "stdout"), (2, "stderr")):
        with _pipe_at(fd):
            _streams[name] = open(fd, "w", buffering=1, closefd=False, **_TEXT)  # noqa: SIM115 - as above
        setattr(sys, name, _streams[name])


@contextmanager
def _pipe_at(fd: int) -> Iterator[None]:
    """Let a file be a pipe meanwhile: a stream remembers whether one can seek in its file."""
    before, (source, sink) = os.dup(fd), os.pipe()
    os.dup2(sink, fd)
    yield
    os.dup2(before, fd)
    for each in (before, source, sink):
        os.close(each)


def capture() -> None:
    """Let the stdout and stderr of everybody in this process be the log's, before there is a job."""
    if (pipe := open_pipe()) is not None:
        for fd in (1, 2):
            os.dup2(pipe.sink, fd)


def set_up_logging() -> None:
    """Print what is logged and warned of, with a mark for its level, unless the owner has set up where that goes.

    Call it when the functions are loaded, in the template: in the process of each job it would take long.
    """
    global _handlers
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(HANDLER)
        logging.captureWarnings(True)
        if root.level == logging.WARNING:  # the default means that nobody has set it
            root.setLevel(logging.INFO)
    _handlers = len(root.handlers)


class _Handler(logging.StreamHandler[Any]):
    """Writes to what stdout is at the moment."""

    @property
    def stream(self) -> Any:
        return sys.stdout

    @stream.setter
    def stream(self, value: Any) -> None:
        pass


def _make_handler() -> logging.Handler:
    handler = _Handler()
    handler.setFormatter(_Marked())
    handler.addFilter(lambda record: not record.name.startswith("rq."))
    return handler


def let_functions_configure() -> None:
    """Let `logging.basicConfig` work as in a script, which has no handler before: ours gives way to what it sets up."""
    original = logging.basicConfig

    @wraps(original)
    def configure(**options: Any) -> None:
        logging.getLogger().removeHandler(HANDLER)
        logging.captureWarnings(False)
        original(**options)

    logging.basicConfig = configure


def is_intact() -> bool:
    """Tell whether what this process prints and logs still is the log's; a run may have closed or replaced a stream."""
    root, pipe = logging.getLogger(), open_pipe()
    try:
        goes_there = pipe is None or all(os.path.sameopenfile(fd, pipe.sink) for fd in (1, 2))
    except OSError:
        return False
    is_open = all(getattr(sys, name) is stream and not stream.closed for name, stream in _streams.items())
    logs_once = 0 < len(root.handlers) <= _handlers and root.manager.disable < logging.WARNING
    return goes_there and is_open and logs_once


class _Marked(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        mark = f"{MARK}{min(max(record.levelno // 10, 1), 5)}"
        return "\n".join(mark + line for line in re.split(r"\r?\n|\r", super().format(record).rstrip("\n")))


HANDLER = _make_handler()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the function may have closed it
            stream.flush()
