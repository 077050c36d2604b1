"""How a job looks from outside: from what RQ keeps in Redis to the models of the contract, and from words to Redis."""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError
from rq.results import Result as RQResult

from launchpad.encoding import parse_json_object
from launchpad.queue.schemas import Bar, Job, JobError, JsonResult, Progress, Result, TableResult, TextResult
from launchpad.queue.states import ENDED_EARLY

# What a list needs of a job's hash; `data`, which holds the arguments whole, is not among it.
FIELDS = ("status", "description", "meta", "created_at", "started_at", "ended_at", "worker_name")
MAX_TEXT_CHARACTERS = 200  # of a text among the arguments that a list shows
MAX_RESULT_CHARACTERS = 1000  # of a result that it has whole

_RESULT: TypeAdapter[Result] = TypeAdapter(Result)

_CAUSES = (
    (r"Job stopped by user", "It was stopped."),
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
)


def describe(function: str, arguments: dict[str, Any]) -> str:
    """Make a job's description: its function and its arguments, long texts cut, as rq-dashboard and logs show it."""
    return f"{function} {json.dumps(shorten(arguments), ensure_ascii=False)}"


def read_description(description: str) -> tuple[str, dict[str, Any]]:
    """Read function and arguments; a job that somebody else put on the queue has its own kind of description."""
    function, _, text = description.partition(" ")
    return function, parse_json_object(text)


def shorten(value: Any) -> Any:
    """Cut the long texts in a JSON value, for a list."""
    match value:
        case str() if len(value) > MAX_TEXT_CHARACTERS:
            return value[:MAX_TEXT_CHARACTERS] + "…"
        case dict():
            return {key: shorten(item) for key, item in value.items()}
        case list():
            return [shorten(item) for item in value]
    return value


def job_of(
    id: str,
    fields: Sequence[bytes | None],
    result: RQResult | None,
    position: int | None,
    expires: float | None,
    scheduled: float | None,
    starts: float | None,
) -> Job:
    """Make a job from the values of FIELDS, its latest result, and its row in the index.

    Whatever the hash holds, there is an answer: one job that cannot be read would make all lists fail.
    """
    texts = [(value or b"").decode(errors="replace") for value in fields]
    state, description, _, created, started, ended, worker = texts
    meta = parse_json_object(texts[2])
    function, arguments = read_description(description)
    values: dict[str, Any] = {
        "id": id,
        "function": function,
        "arguments": arguments,
        "state": state,
        "progress": meta.get("progress"),
        "position": position,
        "result": _returned(result) if result and state == "finished" else None,
        "error": error_of(result.exc_string or "") if result and state in ENDED_EARLY else None,
        "attempt": attempt if isinstance(attempt := meta.get("attempt"), int) else 0,
        "worker": worker or None,
        "created_at": _time(created) or _from_unix(1),
        "scheduled_at": _from_unix(scheduled),
        "starts_at": _from_unix(starts),
        "started_at": _time(started),
        "ended_at": _time(ended),
        "expires_at": _from_unix(expires),
    }
    try:
        return Job.model_validate(values)
    except ValidationError:
        readable = {"progress": _progress(values["progress"]), "result": _result(values["result"])}
        return Job.model_validate(values | readable)


def _returned(result: RQResult) -> Any:
    """Return what stands for the result; a job that somebody else put on the queue may have returned nothing."""
    return {"type": "json", "value": None} if result.return_value is None else result.return_value


def _progress(value: Any) -> Progress | None:
    """Read what a bar tells of itself, if it is one; leave out those within it that are none."""
    if not isinstance(value, dict):
        return None
    inner = value.get("inner")
    bars = [bar for one in inner if (bar := _bar(one))] if isinstance(inner, list) else []
    outer = _bar(value)
    return Progress(**dict(outer), inner=bars) if outer else None


def _bar(value: Any) -> Bar | None:
    try:
        return Bar.model_validate(value)
    except ValidationError:
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
    # Of the last block of a traceback, the first line that is not indented: a message may have many lines.
    block = traceback.rpartition("Traceback (most recent call last):\n")[2]
    line = next((line for line in block.splitlines() if line and not line.startswith(" ")), "It failed.")
    for pattern, cause in _CAUSES:
        if match := re.match(pattern, line):
            return JobError(cause=match.expand(cause), traceback=traceback)
    return JobError(cause=line, traceback=traceback)


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None
    except ValueError:
        return None


def _from_unix(seconds: float | None) -> datetime | None:
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    return None
