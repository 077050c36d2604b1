"""The jobs.py of the bench: what the peers' tasks do, too."""

import os
import signal
import time
from functools import partial

from launchpad.functions import catalog
from launchpad.functions.progress import progress

if os.environ.get("HEAVY"):
    import pandas  # noqa: F401

job = partial(catalog.job, warm=bool(os.environ.get("WARM")))


@job()
def noop() -> int:
    """Do nothing."""
    return 1


@job()
def crash() -> None:
    """Die as by the kernel when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


@job()
def step() -> None:
    """Report progress once, and work on for a moment."""
    progress(total=2).update()
    time.sleep(0.05)
