"""`progress`: tqdm that a page can follow. Outside a worker it is tqdm, as it is."""

import time
from collections.abc import Iterable
from io import StringIO
from typing import Any

from rq.job import Job
from tqdm import tqdm

INTERVAL = 0.1  # seconds between two saves: Redis hears of a job's progress at most ten times a second

_job: Job | None = None  # the job that this process runs; a worker forks a process for each
_saved_at = 0.0


def report_to(job: Job) -> None:
    """Let the bars of this process report to `job` from now on; the runner calls it before the function."""
    global _job, _saved_at
    _job, _saved_at = job, 0.0


class progress(tqdm):  # type: ignore[type-arg]
    """An iterable with a progress bar, or a bar that is moved by hand: tqdm's arguments, tqdm's methods.

    In a worker the bar is saved to `job.meta["progress"]`, which the page, the API and the CLI show.
    """

    def __init__(self, iterable: Iterable[Any] | None = None, *args: Any, **kwargs: Any):
        if _job is not None:
            # Not to a terminal; and looked at with each step, since the next one may take a minute.
            kwargs |= {"file": StringIO(), "mininterval": INTERVAL, "miniters": 1}
        super().__init__(iterable, *args, **kwargs)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the bar: on the terminal, or by saving it for the page."""
        if _job is None:
            super().display(msg, pos)
        elif time.monotonic() - _saved_at >= INTERVAL:
            self._save(_job)

    def close(self) -> None:
        """End the bar; its last state is always saved."""
        ended = self.disable
        super().close()
        if _job is not None and not ended:
            self._save(_job)

    def _save(self, job: Job) -> None:
        global _saved_at
        _saved_at = time.monotonic()
        job.meta["progress"] = _state(self)
        job.save_meta()


def _state(bar: progress) -> dict[str, Any]:
    """Describe a bar as the contract does; the rate is per second, the ETA in seconds."""
    total = bar.total or None
    elapsed = bar.format_dict["elapsed"]
    rate = bar.format_dict["rate"] or (bar.n - bar.initial) / elapsed if elapsed else None
    left = max(total - bar.n, 0) / rate if total and rate else None
    return {
        "done": bar.n,
        "total": total,
        "percent": min(round(100 * bar.n / total, 1), 100.0) if total else None,
        "message": (bar.desc or "").removesuffix(": "),
        "rate": round(rate, 3) if rate else None,
        "eta": round(left, 1) if left is not None else None,
    }
