"""The process of one job: it is forked from the template, runs the function, leaves its outcome, and ends."""

import faulthandler
import json
import mmap
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from types import FrameType
from typing import Any, NoReturn

from launchpad.encoding import replace_surrogates
from launchpad.functions.mistakes import Mistake
from launchpad.worker import runner
from launchpad.worker.log_capture import capture
from launchpad.worker.processes import end_with_parent
from launchpad.worker.run_folder import RunFolder

MakeJob = Callable[[dict[str, Any]], Any]  # makes RQ's job of its state
OUTCOME_BYTES = 8 * 1024**2  # of the memory for an outcome; a result is at most 1 MiB, more is a file
MAX_TRACEBACK_CHARACTERS = 100_000
HEADER_BYTES = 8  # of each of the two numbers before an outcome: of the runs that have begun, and of its bytes
START = 2 * HEADER_BYTES


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

    def begin(self) -> None:
        """Say that a run has begun, of which there is no outcome yet."""
        self._memory[HEADER_BYTES:START] = bytes(HEADER_BYTES)
        self._memory[:HEADER_BYTES] = (self.runs() + 1).to_bytes(HEADER_BYTES)

    def runs(self) -> int:
        """Return how many runs have begun."""
        return int.from_bytes(self._memory[:HEADER_BYTES])

    def write(self, outcome: dict[str, Any]) -> None:
        """Leave the outcome of the last run; it counts when its length is there."""
        data = json.dumps(outcome).encode()
        self._memory[START : START + len(data)] = data
        self._memory[HEADER_BYTES:START] = len(data).to_bytes(HEADER_BYTES)

    def read(self) -> dict[str, Any] | None:
        """Return the outcome, or None where there is none, or none that can be read."""
        length = int.from_bytes(self._memory[HEADER_BYTES:START])
        if not 0 < length <= OUTCOME_BYTES - START:
            return None
        try:
            found = json.loads(self._memory[START : START + length])
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


class JobProcess:
    """A process that runs one job, as the template sees it. It is forked before there is one, which saves that time.

    Raises:
        OSError: there is no space for its folder.
    """

    def __init__(self, function: str = "") -> None:
        self.function = function
        self.outcome, self.folder = Outcome(), RunFolder()
        self.workers_end, self._own_end = Pipe()
        self.pid = 0

    def start(self, make_job: MakeJob, detach: Callable[[], None]) -> None:
        """Fork it; returns in the template only.

        Args:
            make_job: makes RQ's job of its state.
            detach: lets go of what is the template's, in the process.

        Raises:
            OSError: there is no process more.
        """
        template = os.getpid()
        try:
            self.pid = os.fork()
        except OSError:
            self.folder.remove()
            raise
        if self.pid == 0:
            self._be_process(template, make_job, detach)
        self._own_end.close()

    def _be_process(self, template: int, make_job: MakeJob, detach: Callable[[], None]) -> NoReturn:
        try:
            detach()
            self.workers_end.close()
            os.close(self.folder.lock)
            set_up(template, self.folder)
            with suppress(Mistake):  # the run says it
                runner.load()
            self.serve(self._own_end, make_job)
        except (EOFError, BrokenPipeError):  # the worker has no more use for it, or its log collector has gone
            pass
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)

    def serve(self, connection: Connection, make_job: MakeJob) -> None:
        """Do what the process is for: run one job, which the worker hands over."""
        state = connection.recv()
        self.outcome.begin()
        self.outcome.write(run(make_job, state))


def set_up(template: int, folder: RunFolder) -> None:
    """Make the process look as one that was started by itself, and end it with the template.

    Args:
        template: the process id of the template.
        folder: for temporary files.
    """
    os.setpgid(0, 0)
    end_with_parent(template)
    for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    random.seed()
    if numpy := sys.modules.get("numpy"):  # or each job would draw the same numbers
        numpy.random.seed()
    folder.enter()
    sys.argv = ["job"]
    capture()
    faulthandler.enable()  # a crash tells the job's log where it was


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise JobInterrupted


def run(make_job: MakeJob, state: dict[str, Any]) -> dict[str, Any]:
    """Run the job with this state, and return its outcome: a result, or an error with its traceback."""
    try:
        job = make_job(state)
        os.environ["RQ_JOB_ID"] = job.id
        return {"result": job.perform()}
    except BaseException:
        return {"error": replace_surrogates(_shortened(traceback.format_exc()))}


def _shortened(text: str) -> str:
    if len(text) <= MAX_TRACEBACK_CHARACTERS:
        return text
    half = MAX_TRACEBACK_CHARACTERS // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters are left out …\n{text[-half:]}"
