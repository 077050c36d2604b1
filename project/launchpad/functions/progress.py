"""`progress`: tqdm that a page can follow. Outside a worker it is tqdm, as it is."""

import time
from collections.abc import Iterable
from io import StringIO
from math import isfinite
from typing import Any, Protocol

from tqdm import tqdm

from launchpad.encoding import replace_surrogates

INTERVAL = 0.1  # seconds between two saves: Redis hears of a job's progress at most ten times a second


class Reporting(Protocol):
    """What progress is told to: the job, as the worker has it."""

    meta: dict[str, Any]

    def save_meta(self) -> None:
        """Save `meta`."""


# A process runs one job at a time, so these are of one job; its threads share them.
_job: Reporting | None = None
_bars: dict[int, "progress"] = {}  # those that are open, the outermost first; two bars may be equal, their ids not
_saved_at = 0.0


def report_to(job: Reporting | None) -> None:
    """Let the bars of this process report to `job` from now on; the runner calls it before the function."""
    global _job, _saved_at
    _job, _saved_at = job, 0.0
    _bars.clear()


class progress(tqdm):  # type: ignore[type-arg]
    """An iterable with a progress bar, or a bar that is moved by hand: tqdm's arguments, tqdm's methods.

    In a worker the open bars are saved to `job.meta["progress"]`, which the page, the API and the CLI show.
    """

    def __init__(self, iterable: Iterable[Any] | None = None, *args: Any, **kwargs: Any):
        self._most = 0.0
        if _job is not None:
            # Not to a terminal; and looked at with each step, since the next one may take a minute.
            kwargs |= {"file": StringIO(), "mininterval": INTERVAL, "miniters": 1}
        super().__init__(iterable, *args, **kwargs)
        if _job is not None:  # tqdm's clock is that of the day: set back by an hour, it would stop the bar for one
            self._time = time.monotonic
            self.start_t = self.last_print_t = self._time()

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the bar: on the terminal, or by saving it for the page."""
        if _job is None:
            super().display(msg, pos)
        elif not self.disable:
            _bars[id(self)] = self
            if time.monotonic() - _saved_at >= INTERVAL:
                save()

    def reset(self, total: float | None = None) -> None:
        """Begin again, as a new stage."""
        self._most = 0.0
        super().reset(total)

    def close(self) -> None:
        """End the bar; its last state is saved, but not that of each of a thousand bars within another."""
        super().close()
        if id(self) in _bars:
            if len(_bars) == 1 or time.monotonic() - _saved_at >= INTERVAL:
                save()
            del _bars[id(self)]

    def state(self) -> dict[str, Any]:
        """Describe the bar as the contract does; the rate is per second, the other times are seconds."""
        shown = self.format_dict
        done, total, elapsed = _number(self.n) or 0, _number(self.total) or None, shown["elapsed"]
        rate = _number(shown["rate"]) or (done - self.initial) / elapsed if elapsed else None
        if total:  # a count that is corrected downwards does not move the bar back
            self._most = max(self._most, min(100 * done / total, 100.0))
        return {
            "done": done,
            "total": total,
            "percent": round(self._most, 1) if total else None,
            "message": replace_surrogates((self.desc or "").removesuffix(": ")),
            "rate": round(rate, 3) if rate else None,
            "eta": round(max(total - done, 0) / rate, 1) if total and rate else None,
            "elapsed": round(elapsed, 1),
            "unit": self.unit,
        }


def _number(value: Any) -> Any:
    """Make a number of JSON of what counts: numpy has its own, and JSON has neither NaN nor infinity."""
    number = value.item() if hasattr(value, "item") else value
    return number if number is not None and isfinite(number) else None


def save() -> None:
    """Save the open bars now, as the runner does when a function has ended without closing them."""
    global _saved_at
    if _job is not None and _bars:
        _saved_at = time.monotonic()
        outer, *inner = [bar.state() for bar in _bars.values()]
        _job.meta["progress"] = outer | {"inner": inner}
        _job.save_meta()
