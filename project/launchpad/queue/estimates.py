"""An estimate of when a job that waits will start: the work in front of it, put on the workers that there are.

The index tells it how many jobs of each function wait in front, and how long these functions took lately. Where one of
them has never run there is no estimate: none is better than one that is made up.
"""

from collections.abc import Sequence
from heapq import heapreplace
from math import inf
from operator import itemgetter
from time import time
from typing import Any

from launchpad.encoding import parse_json_object

MIN_STEPS = 20  # per worker, in which many jobs are put on the workers: each is 5 % of their time
BETWEEN_SECONDS = 0.002  # from the end of a job to the start of the next
MAX_SECONDS = 365 * 86400  # from which on an estimate is none


class Outlook:
    """How long functions take, and in how many seconds each worker will be free: `inf` where nobody can know."""

    def __init__(self, workers: int, durations: Sequence[bytes], running: Sequence[Any]):
        """Read what the index answers, in microseconds: names with durations, and the running jobs."""
        self._means = [float(text.split()[1]) / 1e6 for text in durations[1::2]]
        means = dict(zip(durations[::2], self._means, strict=True))
        left = [_left(elapsed / 1e6, means.get(name, inf), meta) for name, elapsed, meta in running]
        # A worker that was lost is known before its job is: of too many jobs, the longest count.
        self._free = sorted((sorted(left, reverse=True) + [0.0] * workers)[:workers])

    def start(self, position: int, ahead: Sequence[int]) -> float | None:
        """Estimate the Unix time at which a job starts that waits behind so many jobs of each function."""
        if not self._free or sum(ahead) != position - 1:  # there are others, of which nothing is known
            return None
        free = self._free.copy()
        # In which order they wait is not known. The longest first: the short ones fill the gaps that these leave.
        for number, mean in sorted(zip(ahead, self._means, strict=True), key=itemgetter(1), reverse=True):
            size = max(number // (MIN_STEPS * len(free)), 1)
            for jobs in [size] * (number // size) + [number % size]:
                heapreplace(free, free[0] + jobs * (mean + BETWEEN_SECONDS))
        return time() + free[0] if free[0] < MAX_SECONDS else None


def _left(elapsed: float, mean: float, meta: bytes | None) -> float:
    """Estimate for how long a job still runs: as its bar says, else by its function; a late one is late by double."""
    match parse_json_object(meta or ""):
        case {"progress": {"eta": int() | float() as eta}} if eta > 0:
            return eta
    return abs(mean - elapsed)
