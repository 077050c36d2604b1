"""The way from a process of jobs to the log collector: a pipe, and a page of memory that says whose output comes."""

import fcntl
import json
import mmap
import os
import select
import socket
import termios
import time
from tempfile import mkstemp
from typing import NamedTuple

from rq.job import Job

MARK = "\x1e"  # begins a line, if the digit of its level follows

_collector: socket.socket | None = None  # the way to that of this worker
_pipe: "LogPipe | None" = None  # of this process


def set_collector(way: socket.socket) -> None:
    """Say how the log collector of this worker is reached, before the processes of jobs are forked."""
    global _collector
    _collector = way


def has_collector() -> bool:
    """Tell whether this worker has a log collector that goes on."""
    return _collector is not None and not select.select([_collector], [], [], 0)[0]  # it never writes: that is its end


class Page:
    """Memory shared by a process of jobs and the log collector: whose output comes, and whether any has come."""

    def __init__(self, file: int):
        self._memory = mmap.mmap(file, mmap.PAGESIZE)

    def begin(self, id: str, attempt: int) -> None:
        """Say that what comes from now on is the output of this job."""
        text = json.dumps([id, attempt, round(time.time(), 3), os.urandom(8).hex()]).encode()
        self._memory[4 : 4 + len(text)] = text  # an id is shorter: RQ allows letters, digits, - and _
        self._memory[2:4] = len(text).to_bytes(2)
        self._memory[0], self._memory[1] = attempt > 1, 1

    def end(self) -> None:
        """Say that no job is running."""
        self._memory[1] = 0

    def is_running(self) -> bool:
        """Tell whether a job is."""
        return bool(self._memory[1])

    def hear(self) -> None:
        """Say that there is output; the log collector says it before it takes any."""
        self._memory[0] = 1

    def was_heard(self) -> bool:
        """Tell whether there was."""
        return bool(self._memory[0])

    def job(self) -> tuple[str, int, float, bytes]:
        """Tell its id, which attempt it is, when that began, and what comes last: nobody who prints can guess it.

        If there was none yet, all of it is empty.
        """
        if not any(self._memory[2:4]):
            return "", 0, 0.0, b""
        id, attempt, began, secret = json.loads(self._memory[4 : 4 + int.from_bytes(self._memory[2:4])])
        return id, attempt, began, f"{MARK}0{secret}".encode()


class LogPipe(NamedTuple):
    """The way from a process of jobs to the log collector, and back."""

    page: Page
    sink: int
    kept: int  # a byte comes when all of a log was written

    def end(self, wait: float, has_failed: bool) -> None:
        """End the log of a job, and wait until it is written; that of a silent one is, since there is none."""
        if not (has_failed or self._has_spoken()):
            self.page.end()
            return
        os.write(self.sink, self.page.job()[-1])
        if select.select([self.kept], [], [], wait)[0] and os.read(self.kept, 1):
            self.page.end()

    def _has_spoken(self) -> bool:
        waiting = fcntl.ioctl(self.sink, termios.FIONREAD, b"    ")
        return any(waiting) or self.page.was_heard()  # in this order: what does not wait was heard


def open_pipe() -> LogPipe | None:
    """Open the way of this process; outside a worker of ours there is nobody at its end."""
    global _pipe
    if _pipe is None and _collector is not None:
        file = _shared_memory()
        source, sink = os.pipe()
        kept, ending = os.pipe()
        socket.send_fds(_collector, [str(os.getpid()).encode()], [file, source, ending])
        _pipe = LogPipe(Page(file), sink, kept)
        for fd in (file, source, ending):
            os.close(fd)
        _collector.close()  # no child of a job shall have it: the collector is to see when the worker ends
    return _pipe


def begin(job: Job) -> LogPipe | None:
    """Begin the log of a job, in its process."""
    pipe = open_pipe()
    if pipe is not None:
        pipe.page.begin(job.id, job.meta["attempt"])
    return pipe


def _shared_memory() -> int:
    """Open a file of a page, which is in memory where there is such a thing."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("log")
    else:
        file, path = mkstemp()
        os.unlink(path)
    os.truncate(file, mmap.PAGESIZE)
    return file


def is_behind() -> bool:
    """Tell whether the log of the last job of this process is still being written."""
    return _pipe is not None and _pipe.page.is_running()
