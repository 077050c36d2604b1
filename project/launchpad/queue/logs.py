"""The log of a job as it stands in Redis: a stream of entries, each with some lines."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

KEY_PREFIX = "rq:launchpad:log:"  # and the job's id; an entry's id begins with the number of its last line
LEVELS = ("info", "debug", "info", "warning", "error", "critical")  # by a tenth of logging's number; 0 is print's
MAX_LINES, MAX_BYTES = 10_000, 1024 * 1024  # the newest lines that are kept
MAX_ENTRY_LINES = 500
MAX_PAGE_LINES = 2000  # of one answer
LATE_SECONDS = 5  # after a job's end in which lines may still come, if nothing says that these are all


def read_log(entries: Iterable[tuple[bytes, dict[bytes, bytes]]], after: int) -> tuple[list[dict[str, str]], int, bool]:
    """Return the lines after line `after`, the number of the last one, and whether the log ends there.

    Where lines are missing, since only the newest are kept, a line says so.
    """
    lines: list[dict[str, str]] = []
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
        found: list[Any] = json.loads(fields[b"lines"])
    except (KeyError, ValueError):  # the log collector has not written this
        return [[0, "warning", "… what is here cannot be read …"]]
    return found


def _line(at: float, level: str, text: str) -> dict[str, Any]:
    return {"time": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"), "level": level, "text": text}
