"""The warm process: one that runs many jobs, where RQ forks one for each, and says less to Redis.

A no-op job costs RQ a fork, 25 round trips and 60 commands; here two round trips. What stays as it is: each job runs in
a process that may crash, be stopped, or be over its time without taking the worker down.

    worker    takes a job and writes that it has started (START_JOB), hands it to the warm process, waits for a byte
              or for its end
    process   runs it, writes how it has ended (END_JOB), sends the byte

Both are scripts: what belongs together is one step, and happens only if nobody has given the job up, or deleted it,
meanwhile. They write what RQ's own code writes; a failure takes RQ's own way.
"""

import os
import pickle
import select
import signal
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from resource import RUSAGE_SELF, getrusage
from typing import Any

from redis.client import Pipeline
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.queue import Queue
from rq.results import Result
from rq.timeouts import BaseDeathPenalty, HorseMonitorTimeoutException
from rq.utils import now, utcformat
from rq.worker import Worker, WorkerStatus

from launchpad.queue.scripts import LuaScript
from launchpad.worker import log_collector, log_pipe

START_JOB = LuaScript("start_job")
END_JOB = LuaScript("end_job")
MAX_JOBS = 10_000  # that a process runs before another takes its place, in case something grows in it slowly
MAX_GROWTH_KB = 300 * 1024  # by which it may have grown
TIME_FIELDS = (b"created_at", b"enqueued_at", b"started_at", b"last_heartbeat")  # which RQ's `restore` is slow to read
INTERVAL_SECONDS = 1.0  # between two signs of life while jobs follow each other, and between two looks at other things


class NoLimit(BaseDeathPenalty):
    """No limit of time: `wait_for_horse` keeps its own, which costs no signals."""

    def setup_death_penalty(self) -> None:
        """Do nothing."""

    def cancel_death_penalty(self) -> None:
        """Do nothing."""


class WarmProcess(Worker):
    """Makes a worker of RQ's one that keeps the process of a job for the next; stands before it among the bases."""

    death_penalty_class: type[BaseDeathPenalty] = NoLimit  # but in the process of a job
    _way: socket.socket  # to the warm process; and in it, to the worker
    _warm_pid = 0  # of the warm process, if there is one
    _exit: int  # tells that it has ended
    _run: Execution  # of the job that is running
    _beat_at = _looked_at = 0.0

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._client = self.connection.client()  # one connection, which need not be looked for
        self._lock = threading.RLock()  # commands come in a thread
        self._blank = self.job_class("blank", self.connection, self.serializer)
        self._ttl = self.get_heartbeat_ttl(self._blank)

    # -- the worker, which says only what is due

    def handle_payload(self, message: str | bytes) -> None:
        """Follow a command, in the thread that hears them."""
        with self._lock:
            super().handle_payload(message)

    def check_for_suspension(self, *args: Any) -> None:
        """See whether `rq suspend` was called."""
        if time.monotonic() - self._looked_at > INTERVAL_SECONDS:
            super().check_for_suspension(*args)
            self._looked_at = time.monotonic()

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Tell Redis that the worker is alive."""
        if timeout or pipeline is not None or time.monotonic() - self._beat_at > INTERVAL_SECONDS:
            super().heartbeat(timeout, pipeline)
            self._beat_at = time.monotonic()

    def set_state(self, state: str, pipeline: Pipeline | None = None) -> None:
        """Set the worker's state; that it is busy is for others what START_JOB says, between two jobs, too."""
        if state == WorkerStatus.BUSY or (state, self._state) == (WorkerStatus.IDLE, WorkerStatus.BUSY):
            self._state = state
        else:
            super().set_state(state, pipeline)

    def dequeue_job_and_maintain_ttl(self, *args: Any, **kwargs: Any) -> tuple[Job, Queue] | None:
        """Take a job and start it; if there is none, wait for one as RQ does."""
        started = self._next()
        while started is None:
            if self._stop_requested or (found := super().dequeue_job_and_maintain_ttl(*args, **kwargs)) is None:
                return None
            started = self._next(found[0].id)
        return started, self.queues[0]

    def _next(self, taken: str = "") -> Job | None:
        self.set_state(WorkerStatus.BUSY)  # whoever asks the worker to stop waits for what it has taken
        queue, run, moment = self.queues[0], os.urandom(16).hex(), now()
        keys = [queue.key, queue.intermediate_queue_key]
        with self._lock:  # as soon as others see that it has started, they may want to stop it
            times = [moment.timestamp(), utcformat(moment)]
            answer = START_JOB(self._client, keys, [self.name, run, *times, self._ttl, taken])
            if answer:
                self._run = Execution(run, answer[0].decode(), self.connection, self.name)
                self.executions, self._stopped_job_id = {run: self._run}, None
        if not answer:
            self.set_state(WorkerStatus.IDLE)
            return None
        id, fields = answer
        state = dict(zip(fields[::2], fields[1::2], strict=True))
        created, *_ = (state.pop(name, b"") for name in TIME_FIELDS)
        job = self._job(_id=id.decode())
        job.restore(state)
        with suppress(ValueError):
            job.created_at = datetime.fromisoformat(created.decode()).replace(tzinfo=UTC)
        job.started_at = job.last_heartbeat = moment
        self._run._job = job
        self._is_said = bool(taken)  # by RQ, in the log
        return job

    def _job(self, **state: Any) -> Job:  # RQ's constructor looks the serializer over, and takes as long as all else
        job = self.job_class.__new__(self.job_class)
        vars(job).update(vars(self._blank), meta={}, _dependency_ids=[])
        vars(job).update(state)
        return job

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Have a job run, and see to its end."""
        self.fork_work_horse(job, queue)
        if self._stopped_job_id == job.id:  # meanwhile, when there was no process to be ended
            self.kill_horse()
        if not self._is_said:
            self.log.info("Worker %s: %s: %s (%s)", self.name, queue.name, job.description, job.id)
        self.monitor_work_horse(job, queue, self._run)
        self.set_state(WorkerStatus.IDLE)

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Hand a job to the warm process, or to a new one if there is none, or if the job wants one for itself."""
        isolated = job.isolated  # type: ignore[attr-defined]
        if self._warm_pid and not isolated and log_collector.ensure(self.connection) and self._hand(job):
            self._horse_pid = self._warm_pid
            return
        self._part()
        self._way, self._end_of_way = socket.socketpair()
        super().fork_work_horse(job, queue)
        self._end_of_way.close()
        self._warm_pid, self._exit = self._horse_pid, os.pidfd_open(self._horse_pid)

    def _hand(self, job: Job) -> bool:
        with suppress(OSError):  # it has died
            blank = vars(self._blank)
            state = {name: value for name, value in vars(job).items() if value is not blank.get(name)}
            self._way.sendall(pickle.dumps((self._run.id, state)))
            return True
        return False

    def _part(self) -> None:
        """End the warm process, which does nothing now."""
        if self._warm_pid:
            self._way.close()
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._exit, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(self._warm_pid, 0)
            os.close(self._exit)
            self._warm_pid = 0

    def wait_for_horse(self) -> tuple[Any, Any, Any]:
        """Wait until the job has ended, or the process; answer its exit status, 0 if it goes on.

        Raises:
            HorseMonitorTimeoutException: neither has; it is time for a sign of life.
        """
        interval = self.job_monitoring_interval
        waiting: list[Any] = [self._way, self._exit]
        ready = select.select(waiting, [], [], interval)[0]
        self.has_reported = False
        with suppress(OSError):
            self.has_reported = bool(self._way.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        # A job may have closed its end of the way, and go on.
        if not self.has_reported and not select.select([self._exit], [], [], interval if ready else 0)[0]:
            raise HorseMonitorTimeoutException
        ended = (self._warm_pid, os.EX_OK, None) if self.has_reported else super().wait_for_horse()
        with self._lock:  # from here on, to stop this job would be to stop the next one
            self._horse_pid = 0
        return ended

    def monitor_work_horse(self, *args: Any) -> None:
        """Wait for the end of a job; the process is kept if it has told of it."""
        super().monitor_work_horse(*args)
        if self.has_reported:
            self._way.recv(1)
        else:
            self._part()

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """End the process, if it runs a job."""
        with self._lock:
            if self._horse_pid:
                super().kill_horse(sig)

    # -- the warm process

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """Run a job, and those that are handed over after it; RQ calls it in the new process, and then ends that."""
        self.death_penalty_class = super().death_penalty_class
        self._client = self.connection.client()
        self._way.close()
        self._way = self._end_of_way
        os.register_at_fork(after_in_child=self._way.close)
        self._most = getrusage(RUSAGE_SELF).ru_maxrss + MAX_GROWTH_KB
        handed = self._way.makefile("rb")
        for number in count(1):
            self._is_last = number == MAX_JOBS or job.isolated  # type: ignore[attr-defined]
            self._is_free = False
            os.environ["RQ_JOB_ID"] = job.id
            super().perform_job(job, queue, self._run)
            if not self._is_free:
                self._go_on()
            if self._is_last:
                break
            run, state = pickle.load(handed)  # noqa: S301 - from the worker, whose copy this is
            job = self._job(**state)
            self._run = Execution(run, job.id, self.connection, self.name)
            self._run._job = job
        return True

    def _go_on(self) -> None:
        """Tell the worker that a job has ended and the next one may come, unless this process ends with it."""
        self._is_last |= getrusage(RUSAGE_SELF).ru_maxrss > self._most or log_pipe.is_behind()
        if not self._is_last:
            self._way.send(b".")
            self._is_free = True

    def prepare_job_execution(self, job: Job, remove_from_intermediate_queue: bool = False) -> None:
        """Do nothing: that the job has started was written when it was taken."""

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Log what a job has raised; what is more than an error of its own may have left something half done."""
        super().handle_exception(job, *exc_info)
        self._is_last |= isinstance(exc_info[1], MemoryError) or not isinstance(exc_info[1], Exception)

    def handle_execution_ended(self, job: Job, queue: Queue, heartbeat_ttl: int) -> None:
        """Begin to record the end of a job; END_JOB will see whether it was deleted."""
        if job.get_status(refresh=False) == JobStatus.FAILED:
            super().handle_execution_ended(job, queue, heartbeat_ttl)
        else:
            job.ended_at = now()

    def handle_job_success(self, job: Job, queue: Queue, started_job_registry: Any, execution: Execution) -> None:
        """Record a success, in one step."""
        ttl = job.get_result_ttl(self.default_result_ttl)
        if ttl == 0 or job.started_at is None or job.ended_at is None:  # it is to be deleted
            super().handle_job_success(job, queue, started_job_registry, execution)
            return
        result = Result(
            job.id, Result.Type.SUCCESSFUL, self.connection, return_value=job._result, serializer=self.serializer,
            worker_name=self.name, execution_id=execution.id, execution_started_at=execution.created_at,
            execution_ended_at=job.ended_at,
        )  # fmt: skip
        took = (job.ended_at - job.started_at).total_seconds()
        when: list[Any] = [job.ended_at.timestamp(), utcformat(job.ended_at)]
        fields = [part for pair in result.serialize().items() for part in pair]
        if END_JOB(self._client, args=[job.id, execution.id, self.name, *when, took, ttl, *fields]):
            queue.enqueue_dependents(job)
        self.executions.clear()
        self._go_on()  # and not after RQ has logged it
