"""How a job looks from outside: from what RQ keeps in Redis to the JSON of the contract, and from words to Redis."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Any

from rq.results import Result

from launchpad.encoding import parse_json_object, replace_surrogates

# What a list needs of a job's hash; `data`, which holds the arguments whole, is not among it.
FIELDS = ("status", "description", "meta", "created_at", "started_at", "ended_at", "worker_name")
LONG = 200  # characters of a text that a list shows
LONG_RESULT = 1000  # characters of a result that it has whole

# What each type of result has, at least.
_PARTS = {
    "json": {"value"},
    "text": {"value"},
    "table": {"columns", "rows", "count", "file"},
    "image": {"file"},
    "file": {"file"},
}

_PROGRESS = {"done", "total", "percent", "message", "rate", "eta"}

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
        case str() if len(value) > LONG:
            return value[:LONG] + "…"
        case dict():
            return {key: shorten(item) for key, item in value.items()}
        case list():
            return [shorten(item) for item in value]
    return value


def job_to_dict(
    id: str,
    fields: Sequence[bytes | None],
    result: Result | None,
    position: int | None,
    expires: float | None,
    scheduled: float | None,
    starts: float | None,
) -> dict[str, Any]:
    """Make the JSON of a job from the values of FIELDS, its latest result, and its row in the index."""
    # Whatever the hash holds, there is an answer: one job that cannot be read would make all lists fail.
    texts = [(value or b"").decode(errors="replace") for value in fields]
    state, description, _, created, started, ended, worker = texts
    meta = parse_json_object(texts[2])
    function, arguments = read_description(description)
    failed = result is not None and state in ("failed", "stopped")
    return {
        "id": id,
        "function": function,
        "arguments": arguments,
        "state": state,
        "progress": _progress(meta.get("progress")),
        "position": position,
        "result": _result(result.return_value) if result and state == "finished" else None,
        "error": error_of(result.exc_string or "") if result and failed else None,
        "attempt": attempt if isinstance(attempt := meta.get("attempt"), int) else 0,
        "worker": worker or None,
        "created_at": _time(created) or _from_unix(1),
        "scheduled_at": _from_unix(scheduled),
        "starts_at": _from_unix(starts),
        "started_at": _time(started),
        "ended_at": _time(ended),
        "expires_at": _from_unix(expires),
    }


def _progress(value: Any) -> dict[str, Any] | None:
    """Answer what a bar tells of itself, if it is one."""
    if not (isinstance(value, dict) and value.keys() >= _PROGRESS and isinstance(value["message"], str)):
        return None
    if not all(value[key] is None or _is_finite(value[key]) for key in _PROGRESS - {"message"}):
        return None
    inner = value.get("inner", [])
    bars = [bar for one in inner if (bar := _progress(one))] if isinstance(inner, list) else []
    return value | {"message": replace_surrogates(value["message"]), "inner": bars}


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and isfinite(value)


def _result(value: Any) -> dict[str, Any]:
    kind = value.get("type") if isinstance(value, dict) else None
    ours = isinstance(kind, str) and value.keys() >= _PARTS.get(kind, {"?"})
    return value if ours else {"type": "json", "value": value}  # of a job that somebody else put on the queue


def shorten_result(result: dict[str, Any] | None) -> dict[str, Any] | None:
    """Leave out what a list does not show, which somebody may ask for each second: rows of tables, and long values."""
    if result is None:
        return None
    cut: dict[str, Any] = {"rows": []} if "rows" in result else {}
    value = result.get("value")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if len(text) > LONG_RESULT or "preview" in result:
        cut |= {"value": None, "preview": result.get("preview", text)[:LONG_RESULT]}
    if "more" in result:
        cut["more"] = [shorten_result(part) for part in result["more"]]
    return result | cut


def error_of(traceback: str) -> dict[str, str]:
    """Put a failure into one line for a person, beside its traceback."""
    # Of the last block of a traceback, the first line that is not indented: a message may have many lines.
    block = traceback.rpartition("Traceback (most recent call last):\n")[2]
    line = next((line for line in block.splitlines() if line and not line.startswith(" ")), "It failed.")
    for pattern, cause in _CAUSES:
        if match := re.match(pattern, line):
            return {"cause": match.expand(cause), "traceback": traceback}
    return {"cause": line, "traceback": traceback}


def _time(text: str) -> str | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).isoformat() if text else None
    except ValueError:
        return None


def _from_unix(seconds: float | None) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds else None
