"""The shipper: a process beside each worker that takes what jobs print, for the container's stdout and for Redis.

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
from rq.job import Job

LINES, SIZE = 10_000, 1024 * 1024  # of the newest lines so many are kept, or so many bytes
LONG = 8000  # characters; longer lines are cut
ENTRY, ENTRY_SIZE = 500, 64 * 1024  # lines, or characters, in an entry of the stream
INTERVAL = 0.2  # seconds that a line waits for others
PAUSE, PATIENCE = 1, 120  # seconds between two tries while Redis is away, and for how long after the end of the job
KEY = "rq:launchpad:log:"  # and the job's id; an entry's id begins with the number of its last line
MARK = "\x1e"  # begins a line, if the digit of its level follows
DONE = b"\x1e0"  # what a job writes last if it has not been killed
ENDED = -1  # instead of the pipe's number
LEVELS = ("info", "debug", "info", "warning", "error", "critical")

# ARGV: the job, the batch, how many lines were dropped before it, then of each entry how many lines it has, and them.
# An entry without lines says that an attempt to run the job has ended.
WRITE = f"""
local job, log = 'rq:job:' .. ARGV[1], '{KEY}' .. ARGV[1]
local function number(entry) return tonumber(entry[1]:match('%d+')) end

if redis.call('EXISTS', job) == 0 then return end  -- deleted meanwhile
local last, bytes = 0, 0
local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
if newest then
    if newest[2][4] == ARGV[2] then return end  -- it is written, only the answer was lost
    last, bytes = number(newest), newest[2][6]
end
last = last + ARGV[3]
for i = 4, #ARGV, 2 do
    last, bytes = last + ARGV[i], bytes + #ARGV[i + 1]
    redis.call('XADD', log, last .. '-*', 'lines', ARGV[i + 1], 'batch', ARGV[2], 'bytes', bytes)
end
while true do
    local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
    if number(oldest) > last - {LINES} and bytes - oldest[2][6] < {SIZE} then break end
    redis.call('XDEL', log, oldest[1])
end
local ttl = redis.call('PTTL', job)
if ttl > 0 then redis.call('PEXPIRE', log, ttl) end
"""

_shipper: socket.socket | None = None  # the way to that of this worker


def ensure(connection: Redis) -> None:
    """Start the shipper of this worker, if it is not running, before the process of a job is forked."""
    global _shipper
    if _shipper is None or select.select([_shipper], [], [], 0)[0]:  # it never writes, so this is its end
        _shipper, control = socket.socketpair()
        child = os.fork()
        if child == 0:
            if os.fork() == 0:
                _be_shipper(control, connection)
            os._exit(0)  # so nobody takes the shipper for the process of a job: the worker's children are these
        os.waitpid(child, 0)
        control.close()


def begin(job: Job) -> tuple[int, int] | None:
    """Begin the log of a job: answer where to write to, and what is closed when all of it has been kept.

    Outside a worker of ours there is nobody to take it.
    """
    if _shipper is None:
        return None
    source, sink = os.pipe()
    ended, ending = os.pipe()
    socket.send_fds(_shipper, [json.dumps([job.id, job.meta["attempt"]]).encode()], [source, ending])
    os.close(source)
    os.close(ending)
    return sink, ended


def _be_shipper(control: socket.socket, connection: Redis) -> NoReturn:
    try:
        gc.freeze()  # what the worker left open is not ours to close when it is collected
        os.setsid()  # it ends when the worker and its jobs have ended, and not with them
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
    """Take the logs that are handed over, until the worker has ended, and they too."""
    logs: list[Log] = []
    working = True
    while working or logs:
        timeout = max(min((log.due for log in logs), default=inf) - time.monotonic(), 0)
        sources = [control] * working + [log for log in logs if log.source != ENDED]
        for source in select.select(sources, [], [], None if timeout == inf else timeout)[0]:
            if isinstance(source, Log):
                source.read()
            else:
                message, fds, _, _ = socket.recv_fds(control, 1024, 2)
                if working := bool(message):
                    logs.append(Log(*json.loads(message), *fds))
        for log in logs:
            if log.due <= time.monotonic():
                log.write(redis)
        logs = [log for log in logs if not log.kept]


class Log:
    """The log of one attempt to run a job; its end is that of a pipe."""

    def __init__(self, id: str, attempt: int, source: int, ending: int):
        self.source = source
        self.kept = False
        self.due = inf  # the time at which there is something to write
        self._id, self._ending = id, ending
        self._deadline = inf
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._held = b""  # half of a mark
        self._rest = ""  # what there is of a line that has not ended
        self._lines: deque[tuple[float, str]] = deque()
        self._size = self._dropped = 0
        self._batch: list[str | int] = []  # what may be written, but Redis has not said so
        self._spoken = self._done = False
        self._keep([f"Attempt {attempt}"] if attempt > 1 else [])

    def fileno(self) -> int:
        """Tell `select` what to wait for."""
        return self.source

    def read(self) -> None:
        """Read what is there, print it, and keep the lines for `write`."""
        data = os.read(self.source, ENTRY_SIZE)
        if not data:
            return self._end()
        data = self._held + data
        self._held = data[-1:] if data.endswith(MARK.encode()) else b""
        data = data.removesuffix(self._held)
        self._done = self._done or DONE in data
        with suppress(OSError):  # nobody reads it any more
            os.write(1, re.sub(rb"\x1e[0-5]", b"", data))
        return self._take(data.replace(DONE, b""))

    def _take(self, data: bytes) -> None:
        text = self._rest + self._decoder.decode(data)
        if MARK in text:  # a mark begins a line, even if somebody else has not ended his
            text = re.sub(rf"(?<=[^\n])(?={MARK}[1-5])", "\n", text)
        *lines, rest = text.split("\n")
        self._rest = rest if len(rest) <= LONG else rest[rest.rfind("\r", 0, -1) + 1 :][: LONG + 1]
        self._keep(lines)

    def _keep(self, lines: list[str]) -> None:
        now = round(time.time(), 3)
        for line in lines:
            if "\r" in line:  # a bar that was drawn over and over
                line = line.rstrip("\r").rpartition("\r")[2]
            if len(line) > LONG:
                line = line[:LONG] + "…"
            self._lines.append((now, line))
            self._size += len(line)
        while len(self._lines) > LINES or self._size > SIZE:
            self._size -= len(self._lines.popleft()[1])
            self._dropped += 1
        if lines:
            self._spoken = True
            self.due = min(self.due, time.monotonic() + INTERVAL)

    def _end(self) -> None:
        os.close(self.source)
        self.source = ENDED
        rest = self._rest + self._decoder.decode(b"", final=True)
        self._keep([rest] if rest else [])
        if self._spoken or not self._done:
            self.due = time.monotonic()
            self._deadline = self.due + PATIENCE
        else:  # most jobs say nothing, and that they have finished says enough
            self._close()

    def _close(self) -> None:
        os.close(self._ending)
        self.kept = True

    def write(self, redis: Redis) -> None:
        """Write the lines to Redis, or try again later."""
        self._batch = self._batch or self._pack()
        try:
            redis.eval(WRITE, 0, self._id, *self._batch)
        except RedisError as error:
            self.due = time.monotonic() + PAUSE
            if self.due > self._deadline:
                print(f"The log of job {self._id} could not be kept: {error}", file=sys.stderr, flush=True)
                self._close()
        else:
            if self._batch[-1] == "[]":
                self._close()
            self._batch = []
            self.due = time.monotonic() if self._lines or self.source == ENDED else inf

    def _pack(self) -> list[str | int]:
        batch: list[str | int] = [time.time_ns(), self._dropped]
        for chunk in _chunks(self._lines):
            batch += [len(chunk), json.dumps(chunk, ensure_ascii=False, separators=(",", ":"))]
        self._lines.clear()
        self._size = self._dropped = 0
        return [*batch, 0, "[]"] if self.source == ENDED else batch


def _chunks(lines: Iterable[tuple[float, str]]) -> Iterator[list[Any]]:
    """Part lines for the entries, each of them as its time, level and text."""
    chunk: list[Any] = []
    size = 0
    for at, line in lines:
        mark = re.match(rf"{MARK}([1-5])", line)
        chunk.append((at, LEVELS[int(mark[1])], line[2:]) if mark else (at, "info", line))
        size += len(line)
        if len(chunk) == ENTRY or size > ENTRY_SIZE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
