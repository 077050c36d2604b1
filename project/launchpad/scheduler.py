"""What happens without anybody asking: jobs that are due are queued, cron is kept, lost jobs are found."""

import os
import time
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from typing import Any

from redis.exceptions import WatchError
from rq.cron import CronJob
from rq.executions import Execution
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.job_lifecycle import record_job_failure
from rq.scheduler import RQScheduler
from rq.utils import now

from launchpad.catalog import Function, collect
from launchpad.index import QUEUE, Job, queue_of

# Seconds that a worker must have been silent before its job counts as lost. After an outage of Redis, workers
# are back within three.
SILENCE = 6
CRON = "rq:launchpad:cron"  # function -> the Unix time that it is scheduled for


class Scheduler(RQScheduler):
    """RQ's scheduler, a process beside each worker that looks around once a second.

    The one that holds RQ's lock queues what is due and keeps cron; each of them looks for jobs whose worker was lost,
    in transactions, so that one does it. RQ alone would need 78 seconds to notice: the lease of a job is a minute.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._worker = os.getpid()
        self._silent_since: dict[str, float] = {}

    @property
    def should_reacquire_locks(self) -> bool:
        """Try for the lock every five seconds: its holder may have been killed."""
        tried = self.lock_acquisition_time
        return not self.acquired_locks and (tried is None or (datetime.now() - tried).total_seconds() > 5)

    def heartbeat(self) -> None:
        """Keep the lock, and end with the worker: it may have been killed."""
        if os.getppid() != self._worker:
            self.request_stop()
        super().heartbeat()

    def enqueue_scheduled_jobs(self) -> None:
        """Do what is to be done each second; RQ calls it."""
        self._queue = queue_of(self.connection)
        if self.acquired_locks:
            self._enqueue_due()
            for name, function in _with_cron().items():
                self._schedule_next(name, function)
        self._find_lost()

    # -- time

    def _enqueue_due(self) -> None:
        registry = self._queue.scheduled_job_registry
        for id in registry.get_jobs_to_schedule():
            job = self._queue.fetch_job(id)
            if job is None:
                registry.remove(id)
                continue
            with self.connection.pipeline() as pipe:
                pipe.watch(job.key)
                if job.get_status() == JobStatus.SCHEDULED:  # it may just have been canceled
                    pipe.multi()
                    registry.remove(id, pipeline=pipe)
                    self._queue._enqueue_job(job, pipeline=pipe)
                    _execute(pipe)

    def _schedule_next(self, name: str, function: Function) -> None:
        """Keep the next launch of a cron function among the scheduled jobs, where a person sees and cancels it."""
        at = CronJob(QUEUE, func_name=name, cron=function.cron).get_next_enqueue_time()
        due = int(at.timestamp())
        before = int(self.connection.hget(CRON, name) or 0)
        if before == due:
            return
        if before > time.time():  # the schedule was changed
            self._drop(f"{name}-{before}")
        # The id makes it one job even if two schedulers hold the lock for a moment.
        job = Job.of(function, function.parse({}), f"{name}-{due}", self.connection)
        if not Job.exists(job.id, self.connection):
            self._queue.schedule_job(job, at)
        self.connection.hset(CRON, name, due)

    def _drop(self, id: str) -> None:
        job = self._queue.fetch_job(id)
        if job and job.get_status() == JobStatus.SCHEDULED:
            job.delete()

    # -- lost jobs

    def _find_lost(self) -> None:
        """Fail, or retry, the jobs whose worker has been silent for too long."""
        silent = self._silent()
        self._silent_since = {key: self._silent_since.get(key, time.monotonic()) for key in silent}
        for key, since in self._silent_since.items():
            if time.monotonic() - since > SILENCE:
                self._fail(key)

    def _silent(self) -> list[str]:
        """List what nobody works on: "job:execution" of a worker that does not listen, or a job that none has started.

        A worker listens for commands as long as it, or the process of its job, lives.
        """
        keys = [key.decode() for key in self.connection.zrange(self._queue.started_job_registry.key, 0, -1)]
        taken = [id.decode() for id in self.connection.lrange(self._queue.intermediate_queue_key, 0, -1)]
        executions = [Execution.from_composite_key(key, self.connection) for key in keys]
        with self.connection.pipeline(transaction=False) as pipe:
            for execution in executions:
                pipe.hget(execution.key, "worker_name")
            channels = [f"rq:pubsub:{(name or b'').decode()}" for name in pipe.execute()]
        listeners = self.connection.pubsub_numsub(*channels) if channels else []
        started = {execution.job_id for execution in executions}
        silent = [key for key, (_, number) in zip(keys, listeners, strict=True) if number == 0]
        return silent + [f"{id}:" for id in taken if id not in started]

    def _fail(self, key: str) -> None:
        id = key.partition(":")[0]
        job = self._queue.fetch_job(id)
        with self.connection.pipeline() as pipe:
            if job is not None:
                pipe.watch(job.key)
            waits = job is not None and job.get_status() in (JobStatus.STARTED, JobStatus.QUEUED)
            pipe.multi()
            pipe.zrem(self._queue.started_job_registry.key, key)
            pipe.lrem(self._queue.intermediate_queue_key, 1, id)
            if job is not None and waits:
                self._end(job, pipe)
            _execute(pipe)

    def _end(self, job: RQJob, pipe: Any) -> None:
        self.log.warning("Job %s has lost its worker", job.id)
        if job.should_retry:
            job.retry(self._queue, pipe)
        else:
            job.ended_at = now()
            record_job_failure(job, "AbandonedJobError: the worker was lost", pipe)


def _with_cron() -> dict[str, Function]:
    """Tell the functions with a schedule, as they were when the worker started."""
    return {name: function for name, function in collect(import_module("jobs")).items() if function.cron}


def _execute(pipe: Any) -> None:
    with suppress(WatchError):  # somebody else has changed the job: the next look tells
        pipe.execute()
