"""The process of one job: it is forked from the template, runs the function, leaves its outcome, and ends."""

import faulthandler
import json
import mmap
import os
import random
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from launchpad.encoding import replace_surrogates
from launchpad.worker.processes import end_with_parent

OUTCOME_BYTES = 8 * 1024**2  # of the memory for an outcome; a result is at most 1 MiB, more is a file
MAX_TRACEBACK_CHARACTERS = 100_000
HEADER_BYTES = 8


class JobInterrupted(BaseException):
    """The job is to end now: it was stopped, its time is over, or its worker is told to end.

    No Exception, since many a job would take that for an error of its own.
    """


class Outcome:
    """Memory that the process of a job shares with the template, where it leaves its result or its error.

    A job may close every file, use up the disk, or change any limit: this stays.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, OUTCOME_BYTES)

    def clear(self) -> None:
        """Forget the outcome of the last job."""
        self._memory[:HEADER_BYTES] = bytes(HEADER_BYTES)

    def write(self, outcome: dict[str, Any]) -> None:
        """Leave an outcome; it counts when its length is there."""
        data = json.dumps(outcome).encode()
        self._memory[HEADER_BYTES : HEADER_BYTES + len(data)] = data
        self._memory[:HEADER_BYTES] = len(data).to_bytes(HEADER_BYTES)

    def read(self) -> dict[str, Any] | None:
        """Return the outcome, or None where there is none, or none that can be read."""
        length = int.from_bytes(self._memory[:HEADER_BYTES])
        if not 0 < length <= OUTCOME_BYTES - HEADER_BYTES:
            return None
        try:
            found = json.loads(self._memory[HEADER_BYTES : HEADER_BYTES + length])
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


def be_job_process(template: int, job: Any, folder: Path, outcome: Outcome) -> NoReturn:
    """Run a job in the process that was just forked for it, and end.

    Args:
        template: the process id of the template.
        job: RQ's job.
        folder: the run's own folder for temporary files.
        outcome: where to leave the outcome.
    """
    status = 1
    try:
        set_up(template)
        set_up_run(job, folder)
        outcome.write(run(job))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def set_up(template: int) -> None:
    """Make the process look as one that was started by itself, and end it with the template."""
    os.setpgid(0, 0)
    end_with_parent(template)
    for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    random.seed()
    if numpy := sys.modules.get("numpy"):  # or each job would draw the same numbers
        numpy.random.seed()
    faulthandler.enable()  # a crash tells the job's log where it was


def set_up_run(job: Any, folder: Path) -> None:
    """Tell the process which job it runs, and where its temporary files go."""
    os.environ |= {"RQ_JOB_ID": job.id, "TMPDIR": str(folder), "HOME": str(folder)}
    tempfile.tempdir = str(folder)
    sys.argv = ["job"]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise JobInterrupted


def run(job: Any) -> dict[str, Any]:
    """Run a job, and return its outcome: a result, or an error with its traceback."""
    try:
        return {"result": job.perform()}
    except BaseException as error:
        return {
            "error": replace_surrogates(_shortened(traceback.format_exc())),
            "interrupted": isinstance(error, JobInterrupted),
        }


def _shortened(text: str) -> str:
    if len(text) <= MAX_TRACEBACK_CHARACTERS:
        return text
    half = MAX_TRACEBACK_CHARACTERS // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters are left out …\n{text[-half:]}"
