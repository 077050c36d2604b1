"""What changes the state of a job from outside: it is ended, or queued again.

A worker may do something with the job at any moment between two lines here, so what was read is watched, or looked at
anew.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf

from redis import Redis
from redis.exceptions import WatchError
from rq import Queue
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.registry import CanceledJobRegistry

from launchpad.queue.errors import JobNotFound, WrongState
from launchpad.queue.job import Job
from launchpad.queue.states import RETRYABLE, WAITING

MAX_STOP_SECONDS = 2.0  # that a person waits for a running job to stop
# After which a person is told that the job is stopping. A second stop that comes sooner is a double click, and kills
# nothing: see AGAIN_SECONDS in worker/ending.py.
CLEAN_UP_SECONDS = 0.6
KILL_SECONDS = 1.0  # after which a job that is to be deleted may not clean up any longer
LOOK_SECONDS = 0.05  # from one look at a job that is to end to the next


def fetch(id: str, connection: Redis) -> RQJob:
    """Return RQ's job, or raise JobNotFound."""
    with existing(id):
        return Job.fetch(id, connection)


@contextmanager
def existing(id: str) -> Iterator[None]:
    """Raise JobNotFound where RQ says that there is no job, or no longer."""
    try:
        yield
    except (NoSuchJobError, InvalidJobOperation):
        raise JobNotFound(f"There is no job {id}.") from None


def end(job: RQJob, queue: Queue, kill: bool = False) -> bool:
    """End a job that waits or runs; return False where it has ended by itself.

    One that runs is interrupted, and may clean up; if it was interrupted before, it is killed.

    Args:
        job: the job.
        queue: its queue.
        kill: whether it is killed if it has not cleaned up within a second.

    Raises:
        JobNotFound: it was deleted meanwhile.
    """
    stop, ended = _Stop(job, kill), False
    deadline = time.monotonic() + MAX_STOP_SECONDS
    while time.monotonic() < deadline:
        with existing(job.id):
            state = job.get_status()
        if state == JobStatus.STARTED:
            ended = True
            if stop.is_cleaning_up():
                return True
            stop.ask()
        elif state not in WAITING:
            return ended
        elif _cancel(job, queue):
            return True
        time.sleep(LOOK_SECONDS)  # the worker stops it, or holds it and is about to start it
    return ended


class _Stop:
    """How a job that runs is stopped: it is interrupted, or killed if it was interrupted before."""

    def __init__(self, job: RQJob, kill: bool):
        self._job, self._kill = job, kill
        self._is_second = _is_stopping(job)  # and so is to end at once
        self._is_to_be_asked = self._is_second
        self._began, self._heard = time.monotonic(), inf

    def ask(self) -> None:
        """Ask the worker for it, if it has to be asked now."""
        is_late = self._kill and time.monotonic() > self._began + KILL_SECONDS
        # A worker does not listen before it has started the job, so it is asked until it says that it has heard.
        if self._is_to_be_asked or is_late or not _is_stopping(self._job):
            _send_stop(self._job)
            self._is_to_be_asked = False

    def is_cleaning_up(self) -> bool:
        """Tell whether it was interrupted a while ago, and nobody waits for its end."""
        if self._is_second or self._kill:
            return False
        if _is_stopping(self._job):
            self._heard = min(self._heard, time.monotonic())
        return time.monotonic() > self._heard + CLEAN_UP_SECONDS


def _is_stopping(job: RQJob) -> bool:
    """Tell whether the worker has interrupted the job."""
    return bool(job.connection.hget(job.key, "stopping"))


def _send_stop(job: RQJob) -> None:
    """Ask the worker to stop the job."""
    with suppress(InvalidJobOperation, NoSuchJobError):  # it has just ended: the next look tells
        send_stop_job_command(job.connection, job.id, serializer="json")


def _cancel(job: RQJob, queue: Queue) -> bool:
    """Cancel a job that waits; return False where a worker took it meanwhile."""
    with job.connection.pipeline() as pipe:
        pipe.watch(job.key)
        waiting = job.get_status() == JobStatus.QUEUED
        pipe.multi()
        queue.remove(job, pipeline=pipe)
        job.cancel(pipeline=pipe)
        try:
            removed = pipe.execute()[0]
        except WatchError:
            return False
    if waiting and not removed:  # a worker has it: what it writes next counts
        CanceledJobRegistry(queue=queue).remove(job)
        return False
    return True


def requeue(job: RQJob, queue: Queue, retries: int | None) -> None:
    """Queue a job again that failed, was stopped or was canceled.

    Args:
        job: the job.
        queue: its queue.
        retries: how often it is tried again after a failure; None for as often as is left.

    Raises:
        JobNotFound: it was deleted meanwhile.
        WrongState: it waits, runs or has finished.
    """
    with job.connection.pipeline() as pipe:
        pipe.watch(job.key)  # of two people who click at once, one is told that it is queued already
        with existing(job.id):
            job.refresh()
        if job.get_status(refresh=False) not in RETRYABLE:
            raise WrongState(f"The job is {job.get_status(refresh=False)}.")
        pipe.multi()
        job.started_at = job.ended_at = None
        if retries is not None:
            job.retries_left = retries or None
        job.failed_job_registry.remove(job, pipeline=pipe)
        CanceledJobRegistry(queue=queue).remove(job, pipeline=pipe)
        queue._enqueue_job(job, pipeline=pipe)
        pipe.persist(job.key)  # it was to expire
        try:
            pipe.execute()
        except WatchError:
            raise WrongState("Somebody else was faster.") from None
