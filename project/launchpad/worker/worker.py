"""RQ's worker, made patient: it outlives Redis, ends jobs that are overdue, and records each end of a job.

It does not import the functions: the process that it forks does.
"""

import ctypes
import faulthandler
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from redis import Redis
from rq.executions import Execution
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.utils import ensure_job_list, now
from rq.worker import HerokuWorker
from rq.worker import Worker as PlainWorker

import launchpad.worker.runner  # noqa: F401 - so that the processes of the jobs find it imported
from launchpad.queue.job import Job
from launchpad.worker import log_collector
from launchpad.worker.connection import MAX_OUTAGE_SECONDS, WorkerRedis, connect
from launchpad.worker.scheduler import Scheduler
from launchpad.worker.signals import SHUTDOWN, blocked_signals, unblock_signals
from launchpad.worker.time_limit import TimeLimit

HEARTBEAT_FILE = Path(tempfile.gettempdir(), "worker-heartbeat")
CLEAN_UP_SECONDS = 5  # that a job whose time is over has, before its process is ended

# What `rq worker` would have to be told each time. The shorter intervals: should our scheduler fail, RQ notices after
# 198 s, not 932, that a worker was killed.
OPTIONS = {
    "job_class": Job,
    "queue_class": Queue,
    "serializer": JSONSerializer,
    "worker_ttl": 30,  # seconds, as the next two
    "job_monitoring_interval": 5,
    "maintenance_interval": 10,
}


# HerokuWorker: on SIGTERM the job gets six seconds and is then failed, or queued again if it has retries. RQ's plain
# worker waits for the job, however long, until Docker kills both and the job is left as if it were running.
class ForkingWorker(HerokuWorker if SHUTDOWN else PlainWorker):  # type: ignore[misc]
    """RQ's worker, one process per job, that shows its container that it is alive, and records each end of a job.

    For development: each job imports the app and its functions anew.
    """

    death_penalty_class = TimeLimit
    log_result_lifespan = False  # a line for each job that says what never changes
    has_reported = False  # whether the process of a job has said itself that its end is recorded
    _is_told = False  # whether it knows that the worker is to end

    def __init__(self, queues: Any, name: str | None = None, connection: Redis | None = None, **options: Any):
        # `rq worker` names all options, with its own defaults: ours stand.
        names = [queue if isinstance(queue, str) else queue.name for queue in ensure_job_list(queues)]
        patient = connection if isinstance(connection, WorkerRedis) else connect()
        super().__init__(names, name, connection=patient, **(options | OPTIONS))

    def work(self, burst: bool = False, **options: Any) -> bool:
        """Work, with a scheduler beside it."""
        return bool(super().work(burst, **(options | {"with_scheduler": True})))

    def heartbeat(self, *args: Any, **kwargs: Any) -> None:
        """Tell Redis, and then the health check, which looks at the age of a file."""
        super().heartbeat(*args, **kwargs)
        HEARTBEAT_FILE.touch()

    def get_heartbeat_ttl(self, *args: Any, **kwargs: Any) -> int:
        """Tell for how long a sign of life holds: as long as Redis may be away, or RQ takes a live job for lost."""
        return int(super().get_heartbeat_ttl(*args, **kwargs)) + MAX_OUTAGE_SECONDS

    def fork_work_horse(self, *args: Any, **kwargs: Any) -> None:
        """Fork the process of a job; somebody must be there to take its log."""
        log_collector.ensure(self.connection)
        with blocked_signals():  # or one would kill a process that is not ready yet, or be lost on it
            super().fork_work_horse(*args, **kwargs)

    def setup_work_horse_signals(self) -> None:
        """Be ready, in the process of a job, to hear that the worker is to end."""
        super().setup_work_horse_signals()
        unblock_signals()

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Be the process of a job; end with the worker, or else there may soon be two of this job."""
        faulthandler.enable()  # a crash tells the job's log where it was
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; its children are left to the log collector
            if os.getppid() != self.pid:
                os._exit(1)
        super().main_work_horse(job, queue)

    def prepare_job_execution(self, job: Job, *args: Any, **kwargs: Any) -> None:
        """Write that a job has started; but a worker that slept between taking and starting it was given up."""
        if self.connection.hget(job.key, "status") in (None, b"failed"):
            with self.connection.pipeline() as pipe:
                self.cleanup_execution(job, pipe, self.execution)
                pipe.execute()
            os._exit(0)
        super().prepare_job_execution(job, *args, **kwargs)

    def handle_warm_shutdown_request(self) -> None:
        """Tell the process of the job that the worker is to end."""
        self._stop_requested = True  # what RQ raises between two jobs may be swallowed, by logging for one
        self._is_told = bool(self.horse_pid)
        super().handle_warm_shutdown_request()

    def monitor_work_horse(self, job: Job, queue: Queue, execution: Execution) -> None:
        """Wait for the process of a job, and record how it ended, if it has not done so itself."""
        if self._stop_requested and not self._is_told:  # when it was asked for, there was no process
            self.handle_warm_shutdown_request()
        super().monitor_work_horse(job, queue, execution)
        # RQ takes exit status 0 for an end that was recorded, but the job may have called os._exit(0).
        if not self.has_reported and self._is_open(execution) and Job.exists(job.id, self.connection):
            job.ended_at = now()
            self.handle_job_failure(job, queue, exc_string="Work-horse terminated unexpectedly", execution=execution)

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """End the process of a job with its children; RQ would end the worker, too, if it has just been forked."""
        if self.horse_pid:
            with suppress(OSError):  # it has ended
                os.setpgid(self.horse_pid, self.horse_pid)
            super().kill_horse(sig)

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Tell Redis that a job is alive, and end it when it is overdue: RQ would wait for a minute.

        JobTimeout waits for Python's next step, which may be far away in a long call of C, and may be swallowed over
        and over. SIGABRT waits for nothing, and makes faulthandler tell the job's log where it was.
        """
        began = time.monotonic()
        super().maintain_heartbeats(job, execution)
        redis_was_away = time.monotonic() - began > 1  # then the job may have ended, and only wait to say so
        if self._is_overdue(job) and not redis_was_away:
            self.kill_horse(signal.SIGABRT)
        if not Job.exists(job.id, self.connection):  # deleted by somebody who did not stop it
            self.kill_horse()

    def handle_work_horse_killed(self, job: Job, retpid: int | None, *how: Any) -> None:
        """End what the process of a job has left behind: a killed job would go on in its children."""
        super().handle_work_horse_killed(job, retpid, *how)
        if retpid:
            with suppress(ProcessLookupError, PermissionError):  # macOS: not permitted, for a zombie
                os.killpg(retpid, signal.SIGKILL)

    def handle_execution_ended(self, job: Job, *args: Any) -> None:
        """Begin to record the end of a job, in its process; that would bring back one that was deleted meanwhile."""
        if not Job.exists(job.id, self.connection):
            os._exit(0)
        super().handle_execution_ended(job, *args)

    def handle_job_success(self, job: Job, queue: Queue, started_job_registry: Any, execution: Execution) -> None:
        """Record a success, unless this run was given up: the job has failed, or runs elsewhere."""
        if self._is_open(execution):
            super().handle_job_success(job, queue, started_job_registry, execution)

    def handle_job_failure(
        self,
        job: Job,
        queue: Queue,
        started_job_registry: Any = None,
        exc_string: str = "",
        execution: Execution | None = None,
    ) -> None:
        """Record a failure once, and with its reason: RQ knows only that the process has ended."""
        if execution and not self._is_open(execution):
            self._stopped_job_id = None
            return  # it was killed just after it had recorded its end, or was given up
        if exc_string.startswith("Work-horse") and self._is_overdue(job):
            exc_string = f"JobTimeout: Task exceeded maximum timeout value ({job.timeout} seconds)"
        exc_string = exc_string.encode(errors="backslashreplace").decode()  # or RQ could not write it down
        super().handle_job_failure(job, queue, started_job_registry, exc_string, execution)

    def _is_overdue(self, job: Job) -> bool:
        limit = job.timeout or -1  # which is RQ's word for none
        return 0 < limit <= (now() - (job.started_at or now())).total_seconds() - CLEAN_UP_SECONDS

    def _is_open(self, execution: Execution) -> bool:
        """Tell whether nobody has recorded the end of this run: that would have removed it."""
        key = execution.job.started_job_registry.key
        return self.connection.zscore(key, execution.composite_key) is not None

    def _start_scheduler(self, burst: bool = False, *args: Any, **kwargs: Any) -> None:
        """Start our scheduler instead of RQ's, and always: RQ starts only the one that gets the lock."""
        self.scheduler = Scheduler(self.queues, connection=self.connection, serializer=self.serializer)
        self.scheduler.acquire_locks()
        if burst:
            self.scheduler.enqueue_scheduled_jobs()
            self.scheduler.release_locks()
        else:
            self.scheduler.start()
