"""How a job looks from outside: from what RQ keeps in Redis to the JSON of the contract, and from words to Redis."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rq.results import Result
from rq.utils import utcparse

# What a list needs of a job's hash; `data`, which holds the arguments whole, is not among it.
FIELDS = ("status", "description", "meta", "created_at", "started_at", "ended_at", "worker_name")
LONG = 200  # characters of a text that a list shows

_CAUSES = (
    (r"Job stopped by user", "It was stopped."),
    (
        r"Work-horse terminated .*\(signal 9\)",
        "Its process was killed (signal 9): perhaps the memory ran out.",
    ),
    (r"Work-horse terminated .*\(signal (\d+)\)", r"Its process was ended by signal \1."),
    (r"Work-horse terminated", "Its process ended without a result."),
    (r".*AbandonedJobError", "Its worker was lost while it ran."),
    (r"Job was stuck in intermediate queue", "Its worker was lost before it started."),
    (r".*JobTimeoutException: .*\((\d+) seconds\)", r"It took longer than its limit of \1 seconds."),
    (r".*ShutDownImminentException", "Its worker was shut down while it ran."),
)


def describe(function: str, arguments: dict[str, Any]) -> str:
    """Make a job's description: its function and its arguments, long texts cut, as rq-dashboard and logs show it."""
    return f"{function} {json.dumps(shorten(arguments), ensure_ascii=False)}"


def read_description(description: str) -> tuple[str, dict[str, Any]]:
    """Read function and arguments; a job that somebody else put on the queue has its own kind of description."""
    function, _, text = description.partition(" ")
    try:
        arguments = json.loads(text)
    except ValueError:
        arguments = None
    return function, arguments if isinstance(arguments, dict) else {}


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


def represent(
    id: str,
    fields: Sequence[bytes | None],
    result: Result | None,
    position: int | None,
    expires: float | None,
    scheduled: float | None,
) -> dict[str, Any]:
    """Make the JSON of a job from the values of FIELDS, its latest result, and its row in the index."""
    texts = [(value or b"").decode() for value in fields]
    state, description, _, created, started, ended, worker = texts
    meta = json.loads(texts[2] or "{}")
    function, arguments = read_description(description)
    failed = result is not None and state in ("failed", "stopped")
    return {
        "id": id,
        "function": function,
        "arguments": arguments,
        "state": state,
        "progress": meta.get("progress"),
        "position": position,
        "result": _result(result.return_value) if result and state == "finished" else None,
        "error": error_of(result.exc_string or "") if result and failed else None,
        "attempt": meta.get("attempt", 0),
        "worker": worker or None,
        "created_at": _time(created),
        "scheduled_at": _from_unix(scheduled),
        "started_at": _time(started),
        "ended_at": _time(ended),
        "expires_at": _from_unix(expires),
    }


def _result(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) and value.keys() == {"type", "value"} else {"type": "json", "value": value}


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
    return utcparse(text).replace(tzinfo=UTC).isoformat() if text else None


def _from_unix(seconds: float | None) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat() if seconds else None
