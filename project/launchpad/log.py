"""The log of a job: what it prints, logs and warns of, and what its child processes print, all in one order.

As long as the function runs, stdout and stderr are a pipe, whose other end has the shipper of the worker.
"""

import json
import logging
import os
import re
import select
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from typing import Any

from rq.job import Job

from launchpad.shipper import DONE, ENTRY, MARK, begin

PATIENCE = 1.0  # seconds that a function that has returned waits for its log to be written
LATE = 5  # seconds after a job's end in which lines may still come, if nothing says that these are all
PAGE = 2000  # lines of an answer


@contextmanager
def captured(job: Job) -> Iterator[None]:
    """Write what this process and its children print into the log of the job that it runs."""
    begun = begin(job)
    if begun is None:
        yield
        return
    sink, ended = begun
    try:
        with _redirected(sink) as container, _logged(container):
            yield
            _flush()
            os.write(1, DONE)
    finally:  # so the log is whole when the job has ended, unless a child holds the pipe, or Redis is away
        select.select([ended], [], [], PATIENCE)
        os.close(ended)


@contextmanager
def _redirected(sink: int) -> Iterator[TextIOWrapper]:
    """Let the stdout and stderr of everybody in this process be a pipe; answer a file that is the container's."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # By lines, even with PYTHONUNBUFFERED: a killed job has lost none, and threads do not cut each other's.
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True, write_through=False)
    errors = os.dup(2)
    with open(os.dup(1), "w", buffering=1) as container:
        for fd in (1, 2):
            os.dup2(sink, fd)
        os.close(sink)
        try:
            yield container
        finally:
            _flush()
            os.dup2(container.fileno(), 1)
            os.dup2(errors, 2)
            os.close(errors)


@contextmanager
def _logged(container: TextIOWrapper) -> Iterator[None]:
    """Print what is logged, and what is warned of, with a mark for its level; what RQ logs is the container's only."""
    root, handler = logging.getLogger(), logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Marked())
    handler.addFilter(lambda record: not record.name.startswith("rq."))
    root.addHandler(handler)
    level = root.level
    root.setLevel(logging.INFO if level == logging.WARNING else level)  # the default means that nobody has set it
    logging.captureWarnings(True)
    others = [other for other in logging.getLogger("rq.worker").handlers if isinstance(other, logging.StreamHandler)]
    streams = [other.setStream(container) for other in others]
    try:
        yield
    finally:
        for other, stream in zip(others, streams, strict=True):
            other.setStream(stream)
        logging.captureWarnings(False)
        root.removeHandler(handler)
        root.setLevel(level)


class _Marked(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        mark = f"{MARK}{min(max(record.levelno // 10, 1), 5)}"
        return "\n".join(mark + line for line in re.split(r"\r?\n|\r", super().format(record).rstrip("\n")))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the function may have closed it
            stream.flush()


def read(entries: Iterable[tuple[bytes, dict[bytes, bytes]]], after: int) -> tuple[list[dict[str, str]], int, bool]:
    """Read entries of the stream: the lines after line `after`, the number of the last, and whether that is the end.

    Where lines are missing, since only the newest are kept, a line says so.
    """
    lines: list[dict[str, str]] = []
    ended = False
    for id, fields in entries:
        if len(lines) > PAGE - ENTRY:
            return lines, after, False
        found = json.loads(fields[b"lines"])
        ended = not found
        if found:
            first, after = after, int(id.partition(b"-")[0])
            if (missing := after - len(found) - first) > 0:
                found.insert(0, [found[0][0], "warning", f"… {missing:,} earlier lines are not kept …"])
            lines += [_line(*line) for line in found[max(-missing, 0) :]]
    return lines, after, ended


def _line(at: float, level: str, text: str) -> dict[str, Any]:
    return {"time": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"), "level": level, "text": text}
