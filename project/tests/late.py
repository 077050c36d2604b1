"""Workers that are late in one step between taking a job and running it, so that a signal can come in the middle."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from rq.exceptions import StopRequested

from launchpad.worker import command, worker

STEP = os.environ["LATE_STEP"]


class Late:
    """Stands before a worker among the bases."""

    imminent_shutdown_delay = 2


def be_late(self: Any, *args: Any, **kwargs: Any) -> Any:
    Path("late").touch()
    with suppress(StopRequested):  # as logging does with all that a handler of signals raises
        time.sleep(1)
    return getattr(super(Late, self), STEP)(*args, **kwargs)


setattr(Late, STEP, be_late)


class Worker(Late, command.WarmWorker):
    pass


class ForkingWorker(Late, worker.ForkingWorker):
    pass
