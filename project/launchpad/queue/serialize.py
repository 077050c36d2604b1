"""How a job looks from outside: from what RQ keeps in Redis to the models of the contract.

Whatever stands in Redis, there is an answer: one job that cannot be read would make all lists fail.
"""

import json
import re
import zlib
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from launchpad.encoding import parse_json, parse_json_object
from launchpad.queue.descriptions import read_description
from launchpad.queue.index import Row
from launchpad.queue.job import RUN, UNREADABLE
from launchpad.queue.schemas import (
    Attempt,
    Bar,
    Job,
    JobError,
    JsonResult,
    Progress,
    Result,
    TableResult,
    TextResult,
)
from launchpad.queue.states import ENDED_EARLY

MAX_RESULT_CHARACTERS = 1000  # of a result that a list has whole

_RESULT: TypeAdapter[Result] = TypeAdapter(Result, config=ConfigDict(defer_build=True))

_CAUSES = (
    (r"Job stopped by user", "It was stopped."),
    (r"MemoryLimitExceeded: (.*) of (.*)", r"It was killed at \1 of memory; its limit is \2."),
    (
        r"Work-horse terminated .*\(signal 9\); out of memory; used (.*)",
        r"The system ran out of memory and killed it; it had \1.",
    ),
    (
        r"Work-horse terminated .*\(signal 9\); used (.*)",
        r"Its process was killed, and not for want of memory; it had \1.",
    ),
    (r"Work-horse terminated .*\(signal 9\); .*used (.*)", r"Its process was killed (out of memory?); it had \1."),
    (r"Work-horse terminated .*\(signal 9\)", "Its process was killed (out of memory?)."),
    (r"Work-horse terminated .*\(signal (\d+)\)", r"Its process was ended by signal \1."),
    (r"Work-horse terminated", "Its process ended without a result."),
    (r".*AbandonedJobError", "Its worker was lost while it ran."),
    (r".*DeserializationError", "What it should run cannot be read: it is not the JSON of a job of ours."),
    (r"Job was stuck in intermediate queue", "Its worker was lost before it started."),
    (r"OSError: \[Errno 28\]", "There was no space left for its files."),
    (r"MemoryError", "It needed more memory than there is."),
    (r".*JobTimeout\w*: .*\((\d+) seconds\)", r"It took longer than its limit of \1 seconds."),
    (r".*ShutDownImminentException", "Its worker was shut down while it ran."),
    (r"launchpad\.Mistake: (.*)", r"\1"),
)


@dataclass(frozen=True)
class _Outcome:
    """What RQ keeps of the end of a job: what it returned, or its traceback."""

    value: Any
    traceback: str


# -- a job


def read_job(row: Row) -> Job:
    """Return the job in a row of the index."""
    texts = [(value or b"").decode(errors="replace") for value in row.fields]
    state, description, meta_text, created, started, ended, worker, stopping, usage = texts
    meta = parse_json_object(meta_text)
    function, arguments = read_description(description)
    end = _outcome(row)
    values: dict[str, Any] = {
        "id": row.id,
        "function": function,
        "arguments": arguments,
        "state": state,
        "progress": meta.get("progress"),
        "position": row.position,
        "result": end.value if end and state == "finished" else None,
        "error": error_of(end.traceback) if end and state in ENDED_EARLY else None,
        "attempt": attempt if isinstance(attempt := meta.get("attempt"), int) else 0,
        "worker": worker or None,
        "stopping": bool(stopping) and state == "started",
        "usage": parse_json_object(usage) or None,
        "created_at": _time(created) or _from_unix(1),
        "scheduled_at": _from_unix(row.scheduled),
        "starts_at": _from_unix(row.starts),
        "started_at": _time(started),
        "ended_at": _time(ended),
        "expires_at": _from_unix(row.expires),
    }
    try:
        return Job.model_validate(values)
    except ValidationError:  # of what the job itself wrote, or somebody else
        readable = {"progress": _progress(values["progress"]), "result": _result(values["result"]), "usage": None}
        return Job.model_validate(values | readable)


def read_arguments(data: bytes) -> dict[str, Any]:
    """Return the arguments of a job, whole; none of one that somebody else put on the queue."""
    with suppress(zlib.error):
        data = zlib.decompress(data)
    with suppress(ValueError):
        match parse_json(data):
            case [str(name), _, [_, _, dict(arguments)], _] if name == RUN:
                return arguments
    return {}


def read_attempts(meta: str | bytes) -> list[Attempt]:
    """Return the attempts that a job's metadata tell of."""
    found = parse_json_object(meta).get("attempts")
    return [attempt for one in found if (attempt := _attempt(one))] if isinstance(found, list) else []


def _attempt(value: Any) -> Attempt | None:
    try:
        return Attempt.model_validate(value)
    except ValidationError:
        return None


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None
    except ValueError:
        return None


def _from_unix(seconds: float | None) -> datetime | None:
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    return None


# -- its progress


def _progress(value: Any) -> Progress | None:
    """Read what a bar tells of itself, if it is one; leave out those within it that are none."""
    if (outer := _bar(value)) is None:
        return None
    inner = value.get("inner")
    bars = [bar for one in inner if (bar := _bar(one))] if isinstance(inner, list) else []
    return Progress(**dict(outer), inner=bars)


def _bar(value: Any) -> Bar | None:
    try:
        return Bar.model_validate(value)
    except ValidationError:
        return None


# -- its result


def _outcome(row: Row) -> _Outcome | None:
    """Read the latest of what RQ calls results; None, where there is none that can be read."""
    for _, parts in row.results:
        with suppress(*UNREADABLE):
            kept = dict(zip(parts[::2], parts[1::2], strict=True))
            value = parse_json(b64decode(kept[b"return_value"])) if b"return_value" in kept else None
            traceback = zlib.decompress(b64decode(kept[b"exc_string"])).decode() if kept.get(b"exc_string") else ""
            return _Outcome({"type": "json", "value": None} if value is None else value, traceback)
    return None


def _result(value: Any) -> Result | None:
    """Read a result; that of a job which somebody else put on the queue is any JSON."""
    if value is None:
        return None
    try:
        return _RESULT.validate_python(value)
    except ValidationError:
        return JsonResult(value=value)


def shorten_result(result: Result | None) -> Result | None:
    """Leave out what a list does not show, which somebody may ask for each second: rows of tables, and long values."""
    if result is None:
        return None
    cut: dict[str, Any] = {"more": [shorten_result(part) for part in result.more]} if result.more else {}
    if isinstance(result, TableResult):
        cut["rows"] = []
    if isinstance(result, JsonResult | TextResult):
        text = result.value if isinstance(result.value, str) else json.dumps(result.value, ensure_ascii=False)
        if len(text) > MAX_RESULT_CHARACTERS or result.preview is not None:
            cut |= {"value": None, "preview": (result.preview or text)[:MAX_RESULT_CHARACTERS]}
    return result.model_copy(update=cut) if cut else result


def error_of(traceback: str) -> JobError:
    """Put a failure into one line for a person, beside its traceback."""
    # What interrupted a function may stand above its traceback. Of the last block, it is the first line that is not
    # indented: a message may have many lines.
    block = traceback.rpartition("Traceback (most recent call last):\n")[2]
    line = next((line for line in block.splitlines() if line and not line.startswith(" ")), "It failed.")
    for text, (pattern, cause) in product((traceback, line), _CAUSES):
        if match := re.match(pattern, text):
            return JobError(cause=match.expand(cause), traceback=traceback)
    return JobError(cause=line, traceback=traceback)
