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
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from types import FrameType
from typing import Any, NoReturn

from launchpad.encoding import replace_surrogates
from launchpad.worker.log_capture import capture
from launchpad.worker.processes import end_with_parent, kill

MakeJob = Callable[[dict[str, Any]], Any]  # makes RQ's job of its state
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


class JobProcess:
    """A process that runs one job, as the template sees it. It is forked before there is one, which saves that time."""

    is_kept = False  # whether it runs another job afterwards

    def __init__(self) -> None:
        self.outcome = Outcome()
        self.connection, self._theirs = Pipe()
        self.pid = 0
        self.cpu_seconds = 0.0  # of the runs that have ended, which the system counts with those of the last one

    def start(self, template: int, make_job: MakeJob, detach: Callable[[], None]) -> None:
        """Fork it; returns in the template only.

        Args:
            template: the process id of the template.
            make_job: makes RQ's job of its state.
            detach: lets go of what is the template's, in the process.
        """
        self.pid = os.fork()
        if self.pid == 0:
            self._be_process(template, make_job, detach)
        self._theirs.close()

    def hand(self, state: dict[str, Any], folder: str) -> None:
        """Have it run the job with this state, and a folder for its temporary files.

        If it has just died, that is seen as its end.
        """
        self.outcome.clear()
        try:
            self.connection.send((state, folder))
        except OSError:
            kill(self.pid)

    def _be_process(self, template: int, make_job: MakeJob, detach: Callable[[], None]) -> NoReturn:
        try:
            detach()
            self.connection.close()
            set_up(template)
            self.serve(self._theirs, make_job)
        except EOFError:  # the template has gone
            pass
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)

    def serve(self, connection: Connection, make_job: MakeJob) -> None:
        """Do what the process is for: run one job, which the template hands over."""
        self.outcome.write(run(make_job, *connection.recv()))


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
    capture()
    faulthandler.enable()  # a crash tells the job's log where it was


def set_up_run(job: Any, folder: str) -> None:
    """Tell the process which job it runs, and where its temporary files go."""
    os.environ |= {"RQ_JOB_ID": job.id, "TMPDIR": folder, "HOME": folder}
    tempfile.tempdir = folder
    sys.argv = ["job"]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise JobInterrupted


def run(make_job: MakeJob, state: dict[str, Any], folder: str) -> dict[str, Any]:
    """Run the job with this state, and return its outcome: a result, or an error with its traceback."""
    try:
        job = make_job(state)
        set_up_run(job, folder)
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
