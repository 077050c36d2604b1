"""What surrounds a function in the worker. RQ calls `run`, and `run` calls the function."""

import json
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from rq import get_current_job

from launchpad import log, progress
from launchpad.catalog import collect

MAX_RESULT = 1024 * 1024  # bytes; Redis holds results in memory, and the page shows them
MAX_ATTEMPTS = 20  # of a job whose times are kept
LONG = 200  # characters of what ended an attempt


def run(module: str, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a function of the catalog with arguments that came as JSON, and answer its result as the contract has it.

    The module is named and imported here, in the process of this one job: so a change to `jobs.py` counts at the
    next job, without a restart of the worker.

    Raises:
        LookupError: the function is no longer in the catalog.
        TypeError: it returned what cannot be a result.
        Exception: whatever the function raises.
    """
    if (job := get_current_job()) is None:
        return _call(module, function, arguments)
    attempts = [*job.meta.get("attempts", []), {"started_at": _now()}]
    job.meta = {"attempt": job.meta.get("attempt", 0) + 1, "attempts": attempts[-MAX_ATTEMPTS:]}
    with log.captured(job):
        job.save_meta()
        progress.report_to(job)
        try:
            return _call(module, function, arguments)
        except BaseException as error:
            attempts[-1] |= {"ended_at": _now(), "cause": f"{type(error).__name__}: {error}"[:LONG]}
            job.save_meta()
            raise


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _call(module: str, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    functions = collect(import_module(module))
    if function not in functions:
        raise LookupError(f"{module}.py has no function {function} with @job (any more)")
    return result_of(functions[function].call(**functions[function].typed(arguments)))


def result_of(value: Any) -> dict[str, Any]:
    """Describe what a function returned.

    Raises:
        TypeError: it is not JSON, or larger than MAX_RESULT.
    """
    try:
        size = len(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"A result must be JSON: text, numbers, lists, dicts ({error}).") from None
    if size > MAX_RESULT:
        raise TypeError(f"A result may have up to {MAX_RESULT:,} bytes, this one has {size:,}.")
    return {"type": "text" if isinstance(value, str) else "json", "value": value}
