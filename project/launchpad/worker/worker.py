"""RQ's worker, with a fresh process for each job that costs little, and with ends that are kind first.

    START        a script: takes a job from the queue, and writes that it has started
    supervisor   has the job run in a process that a template forks, and waits until nothing of it is left
    END          a script: writes that it has finished; a failure takes RQ's own way

Each script is one step, and does nothing where the job was given up or deleted meanwhile. The worker imports none of
the functions, so nothing that they do can spoil it.
"""

import json
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq.executions import Execution
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.utils import ensure_job_list, now, utcformat
from rq.worker import Worker as RQWorker
from rq.worker import WorkerStatus

from launchpad.queue.job import Job
from launchpad.queue.scripts import LuaScript
from launchpad.queue.serialize import error_of
from launchpad.settings import Settings
from launchpad.worker import log_collector, processes
from launchpad.worker.causes import why
from launchpad.worker.connection import MAX_OUTAGE_SECONDS, WorkerRedis, connect
from launchpad.worker.ending import Ending
from launchpad.worker.heartbeat import Heartbeat
from launchpad.worker.job_maker import JobMaker, function_of
from launchpad.worker.messages import Ended
from launchpad.worker.scheduler import Scheduler
from launchpad.worker.supervisor import Supervisor
from launchpad.worker.template import Template

START_JOB = LuaScript("start_job")
END_JOB = LuaScript("end_job")
MARK_STOPPING = LuaScript("mark_stopping")
WRITE_USAGE = LuaScript("write_usage")
HEARTBEAT_FILE = Path(tempfile.gettempdir(), "worker-heartbeat")
DUE_SECONDS = 1.0  # between two signs of life while jobs follow each other, and between two looks at other things

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


class Worker(RQWorker):
    """RQ's worker, made patient: it outlives Redis, and records each end of a job once."""

    log_result_lifespan = False  # a line for each job that says what never changes
    _run: Execution  # of the job that was taken
    _beat_at = _looked_at = 0.0
    _is_marked = False  # whether Redis knows that the job was interrupted

    def __init__(self, queues: Any, name: str | None = None, connection: Redis | None = None, **options: Any):
        # `rq worker` names all options, with its own defaults: ours stand.
        names = [queue if isinstance(queue, str) else queue.name for queue in ensure_job_list(queues)]
        patient = connection if isinstance(connection, WorkerRedis) else connect()
        super().__init__(names, name, connection=patient, **(options | OPTIONS))
        self._settings = Settings.from_environ()
        # One connection, which need not be looked for.
        self._scripts = self.connection.client()
        self._lock = threading.RLock()  # commands come in a thread
        self._jobs = JobMaker(self.connection)
        self._ttl = self.get_heartbeat_ttl(self._jobs.blank)
        self._heartbeat = Heartbeat(self._beat, self.job_monitoring_interval, self.log)
        self._supervisor = Supervisor(self._start_template, self._end_orphans, self._settings.stop_seconds, self.log)

    def work(self, burst: bool = False, **options: Any) -> bool:  # type: ignore[override]
        """Work, with a scheduler beside it."""
        processes.adopt_orphans()  # of a template that is killed
        try:
            return bool(super().work(burst, **(options | {"with_scheduler": True})))
        finally:
            self._supervisor.close()

    def _start_scheduler(self, burst: bool = False, *args: Any, **kwargs: Any) -> None:
        """Start our scheduler instead of RQ's, and always: RQ starts only the one that gets the lock."""
        self.scheduler = Scheduler(self.queues, connection=self.connection, serializer=self.serializer)
        self.scheduler.acquire_locks()
        if burst:
            self.scheduler.look_once()
        else:
            self.scheduler.start()

    # -- signs of life, no more often than they are due

    def check_for_suspension(self, *args: Any) -> None:
        """See whether `rq suspend` was called."""
        if time.monotonic() - self._looked_at > DUE_SECONDS:
            super().check_for_suspension(*args)
            self._looked_at = time.monotonic()

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Tell Redis that the worker is alive, and then the health check, which looks at the age of a file."""
        if timeout or pipeline is not None or time.monotonic() - self._beat_at > DUE_SECONDS:
            super().heartbeat(timeout, pipeline)
            self._beat_at = time.monotonic()
            HEARTBEAT_FILE.touch()

    def get_heartbeat_ttl(self, *args: Any, **kwargs: Any) -> int:
        """Return the seconds for which a sign of life holds: as long as Redis may be away."""
        return int(super().get_heartbeat_ttl(*args, **kwargs)) + MAX_OUTAGE_SECONDS

    def set_state(self, state: str, pipeline: Pipeline | None = None) -> None:
        """Set the worker's state; that it is busy is for others what START_JOB says, between two jobs, too."""
        if state == WorkerStatus.BUSY or (state, self._state) == (WorkerStatus.IDLE, WorkerStatus.BUSY):
            self._state = state
        else:
            super().set_state(state, pipeline)

    # -- taking a job

    def dequeue_job_and_maintain_ttl(self, *args: Any, **kwargs: Any) -> tuple[Job, Queue] | None:
        """Take a job and start it; if there is none, wait for one as RQ does."""
        self._supervisor.prepare()
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
            answer = START_JOB(
                self._scripts, keys, [self.name, run, moment.timestamp(), utcformat(moment), self._ttl, taken]
            )
            if answer:
                self._run = Execution(run, answer[0].decode(), self.connection, self.name)
                self.executions, self._stopped_job_id = {run: self._run}, None
                self._supervisor.begin()
        if not answer:
            self.set_state(WorkerStatus.IDLE)
            return None
        if not taken:
            self.log.info("Worker %s: %s: %s", self.name, queue.name, answer[0].decode())
        job = self._run._job = self._jobs.restore(answer[0].decode(), answer[1], moment)
        return job

    # -- running it

    def execute_job(self, job: Any, queue: Queue) -> None:
        """Have a job run, and record how it has ended."""
        if not log_collector.ensure(self.connection):  # the template writes to the one that has gone
            self._supervisor.close()
        if self._stop_requested:  # meanwhile, when nothing was running
            self.handle_warm_shutdown_request()
        self._is_marked = False
        state, seconds = self._jobs.state_of(job), job.timeout or -1
        with self._heartbeat.running():
            ended, ending = self._supervisor.run(function_of(job), state, seconds, self._tick)
        self._record(job, queue, ended, ending)
        self.executions.clear()
        self.set_state(WorkerStatus.IDLE)

    def _start_template(self, load: bool) -> Template:
        log_collector.ensure(self.connection)
        return Template(self._jobs.make, self._detach, load)

    def _end_orphans(self) -> None:
        """End what a template has left behind that could not do it itself."""
        ours = {child.pid for child in multiprocessing.active_children() if child.pid}  # the scheduler
        processes.kill_descendants(processes.Usage(), ours | {log_collector.process()})

    def _detach(self) -> None:
        """Let go of the connections, in a process that was forked: a worker counts as alive while they are open."""
        for client in (self._scripts, self.pubsub):
            if client is not None and client.connection is not None:
                client.connection.disconnect()
        self.connection.connection_pool.reset()

    def _tick(self) -> None:
        """Look whether there is something to tell; without asking Redis, which may be away."""
        if self._supervisor.is_stopping and not self._is_marked:
            self._is_marked = True
            self._heartbeat.hurry()

    def _beat(self) -> None:
        """Tell Redis that the job is alive, in a thread; end one that was deleted by somebody who did not stop it."""
        job = self._run.job
        if self._is_marked:
            MARK_STOPPING(self.connection, args=[job.key])
        self.maintain_heartbeats(job, self._run)
        if not Job.exists(job.id, self.connection):
            self._supervisor.kill()

    # -- ending it before its time

    @property
    def horse_pid(self) -> int:
        """The process of the job that runs, or 0."""
        return self._supervisor.pid

    def handle_payload(self, message: str | bytes) -> None:
        """Follow a command, in the thread that hears them."""
        with self._lock:
            super().handle_payload(message)

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Stop the job that runs, kindly at first; or kill it, if that is not what was asked for."""
        if self._stopped_job_id:
            self._supervisor.stop()
            with suppress(RedisError):  # or the heartbeat does it
                MARK_STOPPING(self.connection, args=[self._run.job.key])  # whoever has asked asks until it is there
        else:
            self._supervisor.kill()

    def handle_warm_shutdown_request(self) -> None:
        """Let the job that runs go on for its time of grace."""
        self._stop_requested = True  # what RQ raises between two jobs may be swallowed, by logging for one
        self.log.info("Worker %s: told to end; a running job has %g s", self.name, self._settings.grace_seconds)
        self._supervisor.shut_down(self._settings.grace_seconds)

    def _shutdown(self) -> None:
        """End when the running job has; do not ask Redis for anything before, which may be away."""
        if self.get_state() != WorkerStatus.BUSY:
            super()._shutdown()
        else:
            for scheduler in multiprocessing.active_children():  # another worker's takes over
                scheduler.terminate()

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """End the job that runs at once; RQ would leave it as if it were running."""
        if self._supervisor.is_running:
            self._supervisor.kill()
        else:
            super().request_force_stop(signum, frame)

    # -- recording its end

    def _record(self, job: Job, queue: Queue, ended: Ended, ending: Ending) -> None:
        job.ended_at = now()
        usage = {"cpu_seconds": round(ended.usage.cpu_seconds, 3), "max_memory_bytes": ended.usage.max_memory_bytes}
        outcome = ended.outcome or {}
        if "result" in outcome and ending.reason in ("", "shutdown"):
            self._record_success(job, queue, outcome["result"], usage)
        else:
            WRITE_USAGE(self.connection, args=[job.id, self._run.id, json.dumps(usage)])
            self.handle_job_failure(job, queue, exc_string=why(job, ended, ending), execution=self._run)

    def _record_success(self, job: Job, queue: Queue, result: Any, usage: dict[str, Any]) -> None:
        job._result = result
        ttl = job.get_result_ttl(self.default_result_ttl)
        if ttl == 0:  # it is to be deleted
            if self._is_open(self._run):
                super().handle_job_success(job, queue, queue.started_job_registry, self._run)
            return
        ended_at = job.ended_at or now()
        elapsed = (ended_at - (job.started_at or ended_at)).total_seconds()
        times = [ended_at.timestamp(), utcformat(ended_at), elapsed]
        fields = self._jobs.fields_of_result(job, self._run, result)
        if END_JOB(self._scripts, args=[job.id, self._run.id, self.name, *times, ttl, json.dumps(usage), *fields]):
            queue.enqueue_dependents(job)
        self.log.info("Worker %s: finished %s in %.3f s", self.name, job.id, elapsed)

    def handle_job_failure(
        self,
        job: Any,
        queue: Queue,
        started_job_registry: Any = None,
        exc_string: str = "",
        execution: Execution | None = None,
    ) -> None:
        """Record a failure once, in the job's attempts too, unless this run was given up."""
        if execution and not self._is_open(execution):
            self._stopped_job_id = None
            return
        exc_string = exc_string.encode(errors="backslashreplace").decode()  # or RQ could not write it down
        if self._stopped_job_id == job.id:
            self.log.info("Worker %s: stopped %s", self.name, job.id)
        else:
            self.log.error("Worker %s: job %s: %s", self.name, job.id, exc_string.strip())
        job.get_meta()  # what its process has saved
        for attempt in job.meta.get("attempts", [])[-1:]:
            attempt |= {"ended_at": now().isoformat(), "cause": error_of(exc_string).cause}
        job.save_meta()
        super().handle_job_failure(job, queue, started_job_registry, exc_string, execution)

    def _is_open(self, execution: Execution) -> bool:
        """Tell whether nobody has recorded the end of this run: that would have removed it."""
        key = execution.job.started_job_registry.key
        return self.connection.zscore(key, execution.composite_key) is not None
