"""The log collector: a process beside each worker that takes what jobs print, for the container's stdout and for Redis.

A job's process may be killed at any moment, and what it printed last is still to be read: so it is another process
that reads it. It is one for all jobs of a worker, because to fork one for each would add half of what a job costs.
"""

import gc
import json
import os
import re
import select
import signal
import socket
import sys
import time
import traceback
from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from math import inf
from typing import Any, NoReturn

from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError
from redis.retry import Retry

from launchpad.queue.logs import LEVELS, MAX_BYTES, MAX_ENTRY_LINES, MAX_LINES
from launchpad.queue.scripts import LuaScript
from launchpad.worker.log_pipe import MARK, Page, has_collector, set_collector
from launchpad.worker.signals import blocked_signals

WRITE_LOG = LuaScript("write_log")
MAX_LINE_CHARACTERS = 8000  # longer lines are cut
MAX_ENTRY_CHARACTERS = 64 * 1024  # in an entry of the stream
INTERVAL_SECONDS = 0.2  # that a line waits for others
RETRY_SECONDS, GIVE_UP_SECONDS = 1, 120  # between two tries while Redis is away, and for how long after the job's end
LAST_SECONDS = 10  # that it outlives its worker, should somebody hold a pipe, or Redis be away

_process = 0  # of this worker's log collector


def process() -> int:
    """Return the process id of this worker's log collector, or 0."""
    return _process


def ensure(connection: Redis) -> bool:
    """Start the log collector of this worker, before a job runs; tell whether the one that there was goes on."""
    global _process
    if has_collector():
        return True
    way, control = socket.socketpair()
    set_collector(way)
    with blocked_signals():
        _process = os.fork()
        if _process == 0:
            _be_collector(control, connection)
    control.close()
    return False


def _be_collector(control: socket.socket, connection: Redis) -> NoReturn:
    try:
        gc.freeze()  # what the worker left open is not ours to close when it is collected
        os.setsid()  # it ends after the worker and its jobs, and not with them
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        os.dup2(control.fileno(), 3)
        os.closerange(4, 1024)  # above all the connections: a worker counts as alive while they are open
        with socket.socket(fileno=3) as control, _connect(connection.connection_pool) as redis:
            _run(control, redis)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def _connect(pool: ConnectionPool) -> Redis:
    """Connect as the worker does, but without its patience: to wait for Redis would be to let the job wait."""
    retry = Retry(NoBackoff(), 1, supported_errors=(ConnectionError,))
    options = pool.connection_kwargs | {"retry": retry, "socket_timeout": 2}
    return Redis(connection_pool=ConnectionPool(connection_class=pool.connection_class, **options))


def _run(control: socket.socket, redis: Redis) -> None:
    """Take what the processes of jobs print, until the worker has ended, and they too, or a little longer."""
    sources: list[Source] = []
    logs: list[Log] = []
    working, last_moment = True, inf
    while (working or sources or logs) and time.monotonic() < last_moment:
        due = min([last_moment, *(log.due for log in logs)])
        timeout = max(due - time.monotonic(), 0)
        waiting: list[Any] = [control] * working + sources
        for ready in select.select(waiting, [], [], None if timeout == inf else timeout)[0]:
            if isinstance(ready, Source):
                logs += ready.read()
            else:
                message, fds, _, _ = socket.recv_fds(control, 1024, 3)
                if working := bool(message):
                    sources.append(Source(int(message), *fds))
                else:
                    last_moment = time.monotonic() + LAST_SECONDS
                    for source in sources:
                        source.end_processes()
        for log in logs:
            if log.due <= time.monotonic():
                log.write(redis)
        logs = [log for log in logs if not log.kept]
        sources = [source for source in sources if not source.ended]


class Source:
    """A process of jobs, as the log collector sees it."""

    def __init__(self, pid: int, page: int, pipe: int, ending: int):
        self.ended = False
        self._pid, self._page, self._pipe, self._ending = pid, Page(page), pipe, ending
        os.close(page)
        self._log: Log | None = None
        self._last = b""  # of the log that has ended before
        self._held = b""  # half of a mark

    def fileno(self) -> int:
        """Tell `select` what to wait for."""
        return self._pipe

    def end_processes(self) -> None:
        """End what a worker that was killed has left behind: a forked child would even let it count as alive."""
        with suppress(ProcessLookupError, PermissionError):  # macOS: not permitted, for a zombie
            os.killpg(self._pid, signal.SIGKILL)

    def read(self) -> list["Log"]:
        """Read what is there, print it, and keep the lines; answer the log, if it is a new one."""
        self._page.hear()
        data = os.read(self._pipe, MAX_ENTRY_CHARACTERS)
        id, attempt, began, last = self._page.job()
        new = []
        if self._log is None and self._page.is_running() and last != self._last:
            self._log = Log(id, attempt, began)
            new = [self._log]
        self._take(data, last) if data else self._close()
        return new

    def _take(self, data: bytes, last: bytes) -> None:
        data = self._held + data
        self._held = next((data[-n:] for n in range(len(last) - 1, 0, -1) if data.endswith(last[:n])), b"")
        data = data.removesuffix(self._held)
        text = data.replace(last, b"")
        with suppress(OSError):  # nobody reads it any more
            os.write(1, re.sub(rb"\x1e[1-5]", b"", text))
        if self._log:
            self._log.take(text)
        if self._log and text != data:
            self._log.end(os.dup(self._ending))
            self._log, self._last = None, last

    def _close(self) -> None:
        self.ended = True
        if self._log:
            self._log.take(self._held)
            self._log.end()
        os.close(self._pipe)
        os.close(self._ending)


class Log:
    """The log of one attempt to run a job."""

    def __init__(self, id: str, attempt: int, began: float):
        self.kept = False
        self.due = inf  # the time at which there is something to write
        self._id = id
        self._ended = False
        self._ending: int | None = None  # to say that all is written
        self._deadline = inf
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._rest = ""  # what there is of a line that has not ended
        self._lines: deque[tuple[float, str]] = deque()
        self._size = self._dropped = 0
        self._batch: list[str | int] = []  # what may be written, but Redis has not said so
        self._keep([f"Attempt {attempt}"] if attempt > 1 else [], began)

    def take(self, data: bytes) -> None:
        """Keep the lines of some output."""
        text = self._rest + self._decoder.decode(data)
        if MARK in text:  # a mark begins a line, even if somebody else has not ended his
            text = re.sub(rf"(?<=[^\n])(?={MARK}[1-5])", "\n", text)
        *lines, rest = text.split("\n")
        self._rest = (
            rest if len(rest) <= MAX_LINE_CHARACTERS else rest[rest.rfind("\r", 0, -1) + 1 :][: MAX_LINE_CHARACTERS + 1]
        )
        self._keep(lines, round(time.time(), 3))

    def _keep(self, lines: list[str], at: float) -> None:
        for line in lines:
            if "\r" in line:  # a bar that was drawn over and over
                line = line.rstrip("\r").rpartition("\r")[2]
            if len(line) > MAX_LINE_CHARACTERS:
                line = line[:MAX_LINE_CHARACTERS] + "…"
            self._lines.append((at, line))
            self._size += len(line)
        while len(self._lines) > MAX_LINES or self._size > MAX_BYTES:
            self._size -= len(self._lines.popleft()[1])
            self._dropped += 1
        if lines:
            self.due = min(self.due, time.monotonic() + INTERVAL_SECONDS)

    def end(self, ending: int | None = None) -> None:
        """Take what there is as all."""
        self._ended, self._ending = True, ending
        rest = self._rest + self._decoder.decode(b"", final=True)
        self._keep([rest] if rest else [], round(time.time(), 3))
        self.due = time.monotonic()
        self._deadline = self.due + GIVE_UP_SECONDS

    def _close(self) -> None:
        self.kept = True
        if self._ending is not None:
            with suppress(OSError):  # nobody waits for it any more
                os.write(self._ending, b".")
            os.close(self._ending)

    def write(self, redis: Redis) -> None:
        """Write the lines to Redis, or try again later."""
        self._batch = self._batch or self._pack()
        try:
            WRITE_LOG(redis, args=[self._id, *self._batch])
        except RedisError as error:
            self.due = time.monotonic() + RETRY_SECONDS
            if self.due > self._deadline:
                print(f"The log of job {self._id} could not be kept: {error}", file=sys.stderr, flush=True)
                self._close()
        else:
            if self._batch[-1] == "[]":
                self._close()
            self._batch = []
            self.due = time.monotonic() if self._lines or self._ended else inf

    def _pack(self) -> list[str | int]:
        batch: list[str | int] = [time.time_ns(), self._dropped]
        for chunk in _chunks(self._lines):
            batch += [len(chunk), json.dumps(chunk, ensure_ascii=False, separators=(",", ":"))]
        self._lines.clear()
        self._size = self._dropped = 0
        return [*batch, 0, "[]"] if self._ended else batch


def _chunks(lines: Iterable[tuple[float, str]]) -> Iterator[list[Any]]:
    """Part lines for the entries, each of them as its time, level and text."""
    chunk: list[Any] = []
    size = 0
    for at, line in lines:
        mark = re.match(rf"{MARK}([1-5])", line)
        chunk.append((at, LEVELS[int(mark[1])], line[2:]) if mark else (at, "info", line))
        size += len(line)
        if len(chunk) == MAX_ENTRY_LINES or size > MAX_ENTRY_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
