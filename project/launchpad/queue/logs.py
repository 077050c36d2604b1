"""The log of a job as it stands in Redis: a stream of entries, each with some lines."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from math import inf
from typing import Any

from redis import Redis
from rq.job import Job as RQJob
from rq.utils import utcparse

from launchpad.encoding import parse_json
from launchpad.queue.schemas import LOG_LEVELS, Log, LogLine
from launchpad.queue.states import ENDED

KEY_PREFIX = "rq:launchpad:log:"  # and the job's id; an entry's id begins with the number of its last line
LEVELS = ("info", *LOG_LEVELS)  # by a tenth of logging's number; 0 is print's
MAX_LINES, MAX_BYTES = 10_000, 1024 * 1024  # the newest lines that are kept
MAX_ENTRY_LINES = 500
MAX_PAGE_LINES = 2000  # of one answer
LATE_SECONDS = 5  # after a job's end in which lines may still come, if nothing says that these are all


def log_after(id: str, after: int, connection: Redis) -> Log | None:
    """Return what a job has printed after its first lines, of which the caller has read `after`; None without a job."""
    with connection.pipeline() as pipe:
        pipe.hmget(RQJob.key_for(id), "status", "ended_at")
        pipe.xrange(KEY_PREFIX + id, f"{after}-1", count=MAX_PAGE_LINES)
        (state, ended_at), entries = pipe.execute()
    if not state:
        return None
    lines, last, whole = read_log(entries, after)
    silent = state == b"finished" and not (entries or after)
    late = not lines and _seconds_since(ended_at) > LATE_SECONDS  # the log collector was lost with the worker
    ended = state.decode(errors="replace") in ENDED
    return Log(lines=lines, next=last, complete=ended and (whole or silent or late))


def _seconds_since(time: bytes | None) -> float:
    """Return how many seconds have passed since a time of RQ's; infinitely many if it has never been."""
    with suppress(ValueError):
        return (datetime.now(UTC) - utcparse(time.decode()).replace(tzinfo=UTC)).total_seconds() if time else inf
    return inf


def read_log(entries: Iterable[tuple[bytes, dict[bytes, bytes]]], after: int) -> tuple[list[LogLine], int, bool]:
    """Return the lines after line `after`, the number of the last one, and whether the log ends there.

    Where lines are missing, since only the newest are kept, a line says so.
    """
    lines: list[LogLine] = []
    ended = False
    for id, fields in entries:
        if len(lines) > MAX_PAGE_LINES - MAX_ENTRY_LINES:
            return lines, after, False
        found = _lines_in(fields)
        ended = not found
        if found:
            first, after = after, int(id.partition(b"-")[0])
            if (missing := after - len(found) - first) > 0:
                found.insert(0, [found[0][0], "warning", f"… {missing:,} earlier lines are not kept …"])
            lines += [_line(*line) for line in found[max(-missing, 0) :]]
    return lines, after, ended


def _lines_in(fields: dict[bytes, bytes]) -> list[Any]:
    try:
        found: list[Any] = parse_json(fields[b"lines"])
    except (KeyError, ValueError):  # the log collector has not written this
        return [[0, "warning", "… what is here cannot be read …"]]
    return found


def _line(at: float, level: str, text: str) -> LogLine:
    return LogLine(time=datetime.fromtimestamp(at, UTC), level=level, text=text)
