"""Formatting: everything that puts a job into words, for the pages and for the terminal. Pure functions."""

import json
from datetime import UTC, datetime
from typing import Any

from jinja2.filters import do_filesizeformat

from launchpad.functions.forms import as_text
from launchpad.queue.schemas import (
    Bar,
    FileResult,
    ImageResult,
    Job,
    JsonResult,
    LogLine,
    Result,
    TableResult,
    TextResult,
    Usage,
    Workers,
)
from launchpad.queue.states import ENDED_EARLY

MAX_SUMMARY_CHARACTERS = 300  # of a result, in a row of the list
MAX_INLINE_CHARACTERS = 80  # of a value that needs no box of its own
AGE_STEP_SECONDS = 10
NO_BREAK = "\N{NO-BREAK SPACE}"
UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


# -- a job as a whole


def outcome(job: Job) -> str:
    """Say in one line what came of a job, or what it waits for."""
    if job.state == "queued":
        return queue_position(job.position, job.starts_at) if job.position else "About to start"
    if job.state == "finished" and job.result:
        number = len(job.result.more)
        return _summary(job.result) + (f" and {number} more" if number else "")
    if job.error:
        return job.error.cause
    if job.state == "scheduled":
        return f"Starts {format_time(job.scheduled_at)}" if job.scheduled_at else "Waits for its time"
    return "Waits for another job" if job.state == "deferred" else ""


def _summary(result: Result) -> str:
    match result:
        case TableResult(count=count):
            return f"A table of {count:,} row{'' if count == 1 else 's'}"
        case ImageResult(file=file) | FileResult(file=file):
            return file.name
        case JsonResult(preview=str(text)) | TextResult(preview=str(text)) | JsonResult(value=str(text)):
            return text[:MAX_SUMMARY_CHARACTERS]
        case TextResult(value=str(text)):
            return text[:MAX_SUMMARY_CHARACTERS]
        case JsonResult(value=value) if value is not None:
            return _json(value)[:MAX_SUMMARY_CHARACTERS]
    return result.file.name if result.file else "No result"


def queue_position(position: int, starts_at: datetime | None) -> str:
    """Say where in the queue a job is, and if there is an estimate, when it starts, as a person would."""
    return f"Number {position} in the queue" + (f" · {_expected_start(starts_at)}" if starts_at else "")


def _expected_start(starts_at: datetime) -> str:
    seconds = (starts_at - datetime.now(UTC)).total_seconds()
    if seconds <= 1:
        return "starts any moment"
    size, unit = next((size, unit) for size, unit in UNITS if seconds >= 1.5 * size or size == 1)
    step = 5 if seconds / size > 10 else 1
    return f"starts in about {int(seconds / size / step + 0.5) * step} {unit}"


def stop_label(job: Job) -> str:
    """Say what a press of the button does that ends a job."""
    if job.stopping:
        return "Kill now"
    return "Stop" if job.state == "started" else "Cancel"


def news(job: Job) -> str:
    """Say what a screen reader tells when it has changed."""
    return f"{job.function} {'stopping' if job.stopping else job.state}"


def state_note(job: Job) -> str:
    """Add to the state how far the job came, and which attempt it is."""
    parts = (
        "· stopping" if job.stopping else "",  # "started stopping" would be read as one
        f"at {_done(job.progress)}" if job.progress and job.state in ENDED_EARLY else "",
        f"attempt {job.attempt}" if job.attempt > 1 else "",
    )
    return " · ".join(filter(None, parts))


def elapsed(job: Job) -> str:
    """Say how long a job ran, or has run so far."""
    if job.started_at and job.ended_at:
        return format_duration((job.ended_at - job.started_at).total_seconds())
    if job.started_at and job.state == "started":
        return format_duration(int((datetime.now(UTC) - job.started_at).total_seconds()))
    return ""


def progress_detail(bar: Bar | None) -> str:
    """Say how far a running job is."""
    if bar is None:
        return "Working; no progress reported"
    size, unit = _scale(bar)
    rate = (bar.rate or 0) / size
    parts = (
        bar.message,
        _done(bar),
        f"{rate:,.{0 if rate >= 10 else 1}f}{unit}/s" if rate >= 0.05 else "",
        f"{format_duration(int(bar.eta))} left" if bar.eta else "",
    )
    return " · ".join(filter(None, parts))


def _done(bar: Bar) -> str:
    size, unit = _scale(bar)
    digits = 3 if size == 1 else 1
    done, total = (f"{(number or 0) / size:,.{digits}f}" for number in (bar.done, bar.total))
    if digits == 3:
        done, total = (text.rstrip("0").rstrip(".") for text in (done, total))
    return (f"{done} of {total}" if bar.total else done) + (unit if size > 1 else "")


def _scale(bar: Bar) -> tuple[int, str]:
    """Tell what one of the shown unit is, and its name: bytes are shown as megabytes."""
    unit = bar.unit.strip()
    if unit in ("B", "byte", "bytes"):
        return 10**6, " MB"
    return 1, "" if unit == "it" else f" {unit}"


# -- numbers and times


def format_usage(usage: Usage) -> str:
    """Say what a job has used: 0.04 s of processor time, 41 MB of memory; no line ends before a unit."""
    seconds = f"{usage.cpu_seconds:.2g} s" if usage.cpu_seconds < 1 else format_duration(usage.cpu_seconds)
    memory = do_filesizeformat(usage.max_memory_bytes)
    return f"{seconds.replace(' ', NO_BREAK)} of processor time, {memory.replace(' ', NO_BREAK)} of memory"


def count_workers(workers: Workers) -> str:
    """Say how many workers there are, and how many are busy."""
    total = workers.total
    return f"{total} worker{'' if total == 1 else 's'}, {workers.busy} busy" if total else "No worker"


def count_jobs(number: int) -> str:
    """Write a number of jobs: 1 job, 1,200 jobs."""
    return f"{number:,} job{'' if number == 1 else 's'}"


def format_duration(seconds: float) -> str:
    """Put seconds into words: 0.04 s, 12 s, 3 min 05 s, 2 h 10 min, 3 d 4 h."""
    s = int(seconds)
    if s < 60:
        return f"{seconds:.{1 if s else 2}f} s" if s < 10 and s != seconds else f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60:02} s"
    if s < 86400:
        return f"{s // 3600} h {s // 60 % 60:02} min"
    return f"{s // 86400} d {s // 3600 % 24} h"


def time_ago(time: datetime, now: datetime | None = None) -> str:
    """Say how long ago a time was, in its largest unit.

    It goes on in steps, and for all times at the same moment: so a page on which nothing else happens stays the same
    from one look to the next.
    """
    last_step = (now or datetime.now(UTC)).timestamp() // AGE_STEP_SECONDS * AGE_STEP_SECONDS
    seconds = round((last_step - time.timestamp()) / AGE_STEP_SECONDS) * AGE_STEP_SECONDS
    return f"{' '.join(format_duration(seconds).split()[:2])} ago" if seconds > 0 else "just now"


def format_time(time: datetime) -> str:
    """Write a time out."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def format_log_line(line: LogLine) -> str:
    """Write a line of a log with its time and its level."""
    return f"{line.time.isoformat(timespec='milliseconds')[:23]}Z {line.level:8} {line.text}"


# -- arguments and results


def format_call(arguments: dict[str, Any]) -> str:
    """Put arguments into one line, as a call is written; files by their names."""
    return ", ".join(f"{name}={_json(_file_names(value))}" for name, value in arguments.items())


def form_values(arguments: dict[str, Any]) -> dict[str, str]:
    """Write arguments as a form shows them, several values on a line each."""
    lists = {name: value if isinstance(value, list) else [value] for name, value in arguments.items()}
    return {name: "\n".join(as_text(_file_names(value)) for value in values) for name, values in lists.items()}


def format_value(value: Any) -> str:
    """Write a value so that it can be read: a text as it is, what is long over several lines."""
    if isinstance(value, str):
        return value
    line = _json(_file_names(value))
    return line if len(line) <= MAX_INLINE_CHARACTERS else json.dumps(value, ensure_ascii=False, indent=2)


def format_cell(value: Any) -> str:
    """Write a cell of a table; its CSV file has all digits."""
    if isinstance(value, float):
        return _format_float(value)
    if value is None:
        return ""
    return value if isinstance(value, str) else _json(value)


def _format_float(value: float) -> str:
    if 1e-4 <= abs(value) < 1e6:
        return f"{value:.6g}"
    return f"{value:.2f}" if abs(value) < 1e15 else str(value)


def numeric_columns(table: TableResult) -> set[int]:
    """Tell which columns of a table have nothing but numbers."""
    columns = zip(*table.rows, strict=True)
    return {
        i for i, cells in enumerate(columns) if {type(value) for value in cells if value is not None} <= {int, float}
    }


def _file_names(value: Any) -> Any:
    if isinstance(value, list):
        return [_file_names(item) for item in value]
    return value["name"] if isinstance(value, dict) and "name" in value else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
