"""A worker that is late in one step between taking a job and running it, so that a signal can come in the middle.

LATE_STEP names the step: a function of a module in `launchpad.worker`. What is forked later is late in it, too.
"""

import os
import time
from contextlib import suppress
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

from rq.exceptions import StopRequested

from launchpad.worker import command

NAMES = os.environ["LATE_STEP"].split(".")
owner = reduce(getattr, NAMES[1:-1], import_module(f"launchpad.worker.{NAMES[0]}"))
step = getattr(owner, NAMES[-1])


def be_late(*args: Any, **kwargs: Any) -> Any:
    Path("late").touch()
    with suppress(StopRequested):  # as logging does with all that a handler of signals raises
        time.sleep(1)
    return step(*args, **kwargs)


setattr(owner, NAMES[-1], be_late)


class Worker(command.Worker):
    pass
