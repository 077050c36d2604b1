"""Functions that take a known time, for the tests of the estimate. See helpers.functions_of."""

import time

from launchpad.functions.catalog import job
from launchpad.functions.progress import progress


@job()
def nap(seconds: float) -> None:
    time.sleep(seconds)


@job()
def doze(seconds: float) -> None:
    """Sleep, and report no progress, as `nap`; but a function of its own, with a mean of its own."""
    time.sleep(seconds)


@job()
def count_sheep(number: int) -> None:
    for _ in progress(range(number * 10)):
        time.sleep(0.1)


@job()
def toss(seconds: float) -> None:
    time.sleep(seconds)
    raise ValueError
