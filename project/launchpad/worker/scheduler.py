"""What happens without anybody asking: jobs that are due are queued, cron is kept, abandoned jobs are found."""

import os
import signal
import time
from contextlib import suppress
from datetime import datetime
from threading import Thread
from typing import Any

from redis import Redis
from redis.exceptions import WatchError
from rq.cron import CronJob
from rq.job import JobStatus
from rq.scheduler import RQScheduler
from rq.scripts import release_lock

from launchpad.functions.catalog import Function
from launchpad.functions.mistakes import Mistake
from launchpad.queue.constants import QUEUE
from launchpad.queue.job import Job, queue_of
from launchpad.settings import Settings
from launchpad.storage import Store
from launchpad.worker import application
from launchpad.worker.abandoned import SILENCE_SECONDS, AbandonedJobs
from launchpad.worker.processes import end_with_parent
from launchpad.worker.signals import blocked_signals, unblock_signals

SWEEP_SECONDS = 600  # from one sweep of the file store to the next
LOAD_SECONDS = 10  # after which functions that could not be loaded are tried again
CRON = "rq:launchpad:cron"  # function -> the Unix time that it is scheduled for

STOP_SECONDS = 5  # that it may take to end


class Scheduler(RQScheduler):
    """RQ's scheduler, a process beside each worker that looks around once a second.

    The one that holds RQ's lock queues what is due, keeps cron, and sweeps the file store; each of them looks for
    abandoned jobs (see `abandoned.py`).
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._worker = os.getpid()
        self._load_at = 0.0  # of the monotonic clock
        self._abandoned: AbandonedJobs | None = None  # not yet: the process of the scheduler has another connection

    def start(self) -> Any:
        """Start the process."""
        with blocked_signals():
            return super().start()

    def look_once(self) -> None:
        """Look around once, in a process that imports the functions, which the worker must not."""
        if os.fork() == 0:
            self.enqueue_scheduled_jobs()
            os._exit(0)
        os.wait()
        self.release_locks()

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()
        unblock_signals()

    def request_stop(self, signum: Any = None, frame: Any = None) -> None:
        """End soon; without having looked around, if the functions are still being imported."""
        super().request_stop(signum, frame)
        signal.alarm(STOP_SECONDS)

    @property
    def should_reacquire_locks(self) -> bool:
        """Try for the lock every five seconds: its holder may have been killed."""
        tried = self.lock_acquisition_time
        # abs: the clock may have been set back.
        return not self.acquired_locks and (tried is None or abs((datetime.now() - tried).total_seconds()) > 5)

    def acquire_locks(self, *args: Any, **kwargs: Any) -> Any:
        """Take the lock; from another who has not renewed it, too: after a kill, RQ would wait for its last minute."""
        key = self.get_locking_key(QUEUE)
        holder, left = self.connection.get(key), self.connection.ttl(key)
        if holder and left < self.interval + 60 - SILENCE_SECONDS:  # it is renewed each second
            release_lock(self.connection, key, holder.decode())
        return super().acquire_locks(*args, **kwargs)

    def heartbeat(self) -> None:
        """Keep the lock, and end with the worker: it may have been killed."""
        if os.getppid() != self._worker:
            self.request_stop()
        super().heartbeat()

    def work(self) -> None:
        """Look around until it is to stop; and sweep beside it, since a file store may be far away and slow."""
        end_with_parent(self._worker, signal.SIGTERM)
        store = Store(Settings.from_environ().files_url)
        Thread(target=self._sweep, args=(store, self.connection), daemon=True).start()
        while not self._stop_requested:
            try:
                super().work()
            except Exception:  # RQ's would end, and then be started only where it gets the lock
                self.log.exception("The scheduler was interrupted")
                time.sleep(self.interval)

    def enqueue_scheduled_jobs(self) -> None:
        """Do what is to be done each second; RQ calls it."""
        self._queue = queue_of(self.connection)
        self._abandoned = self._abandoned or AbandonedJobs(self.connection)
        self._abandoned.find()  # first: the app, and with it cron, may be broken
        if self.acquired_locks:
            self._enqueue_due()
            for name, function in self._with_cron().items():
                self._schedule_next(name, function)

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

    def _with_cron(self) -> dict[str, Function]:
        """Tell the functions with a schedule, as they were when the worker started, or could first be loaded."""
        if time.monotonic() < self._load_at:
            return {}
        try:
            return {name: function for name, function in application.functions().items() if function.cron}
        except Mistake:  # the worker says which
            self._load_at = time.monotonic() + LOAD_SECONDS
            return {}

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

    # -- files

    def _sweep(self, store: Store, connection: Redis) -> None:
        def exist(ids: list[str]) -> list[bool]:
            with connection.pipeline(transaction=False) as pipe:
                for id in ids:
                    pipe.exists(Job.key_for(id))
                return [bool(found) for found in pipe.execute()]

        while True:
            time.sleep(1)
            if self.acquired_locks:
                try:
                    store.sweep(exist)
                except Exception:
                    self.log.exception("The file store could not be swept; again in %d seconds", SWEEP_SECONDS)
                time.sleep(SWEEP_SECONDS)


def _execute(pipe: Any) -> None:
    with suppress(WatchError):  # somebody else has changed the job: the next look tells
        pipe.execute()
