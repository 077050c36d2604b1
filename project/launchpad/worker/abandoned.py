"""Abandoned jobs: those whose worker has gone without a word, as when its container was killed.

Whoever is there looks for them once a second: the scheduler beside each worker, and each process of gunicorn, since
there may be no worker left. What is found is changed in transactions, so that one of them does it. RQ alone would need
198 seconds, and another worker: the lease of a job is three minutes, so that it outlives an outage of Redis.
"""

import logging
import time
from contextlib import suppress
from threading import Thread
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, WatchError
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.job_lifecycle import record_job_failure
from rq.utils import now

from launchpad.queue.constants import RUNNING
from launchpad.queue.index import catch_up
from launchpad.queue.job import Job, queue_of

# For so long a worker must have been silent before its job counts as abandoned.
SILENCE_SECONDS = 6
# So soon after a restart of Redis the workers are back; until then, and while it is full, nobody counts as silent.
RECONNECT_SECONDS = 3
MAX_STEP_SECONDS = 2  # of the time between two looks no more counts

log = logging.getLogger(__name__)


def watch(connection: Redis) -> None:
    """Look once a second from now on, in a thread."""

    def look() -> None:
        abandoned = AbandonedJobs(connection)
        while True:
            time.sleep(1)
            try:
                with suppress(RedisError):  # whoever asks for a page is told
                    abandoned.find()
            except Exception:
                log.exception("The look for abandoned jobs was interrupted")

    Thread(target=look, daemon=True).start()


class AbandonedJobs:
    """Looks for the jobs whose worker has been silent for too long, and fails them, or has them run again."""

    def __init__(self, connection: Redis):
        self._redis: Any = connection  # whose answers are typed for each way to decode them
        self._queue = queue_of(connection)
        self._started, self._taken = self._queue.started_job_registry.key, self._queue.intermediate_queue_key
        self._silence: dict[str, float] = {}  # seconds, of what nobody works on
        self._looked_at = 0.0

    def find(self) -> None:
        """Look once; it takes several looks, one a second, to find a job."""
        catch_up(self._redis)
        step = min(time.monotonic() - self._looked_at, MAX_STEP_SECONDS)
        redis = self._redis.info()
        restarted = 0 <= redis["uptime_in_seconds"] < RECONNECT_SECONDS  # below 0: the clock was set back
        full = 0 < redis["maxmemory"] <= redis["used_memory"]
        silent = [] if restarted or full else self._silent()
        self._looked_at = time.monotonic()
        self._silence = {key: self._silence.get(key, -step) + step for key in silent}
        for key, silence in self._silence.items():
            if silence > SILENCE_SECONDS:
                self.give_up(key)

    def _silent(self) -> list[str]:
        """List what nobody works on: "job:execution" of a worker that does not listen, or a job that none has started.

        A worker listens for commands as long as it, or the process of its job, lives. One that listens and is idle has
        ended the job, but a Redis that crashed has forgotten that.
        """
        keys = [key.decode(errors="replace") for key in self._redis.zrange(self._started, 0, -1)]
        taken = [id.decode(errors="replace") for id in self._redis.lrange(self._taken, 0, -1)]
        with self._redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hget(f"rq:execution:{key}", "worker_name")
            names = [(name or b"").decode() for name in pipe.execute()]
            for name in names:
                pipe.pubsub_numsub(f"rq:pubsub:{name}")
                pipe.hget(f"rq:worker:{name}", "state")
            found = pipe.execute()
        started = {key.partition(":")[0] for key in keys}
        workers = zip(keys, found[::2], found[1::2], strict=True)
        silent = [key for key, [(_, listeners)], state in workers if listeners == 0 or state == b"idle"]
        return silent + [f"{id}:" for id in taken if id not in started]

    def give_up(self, key: str) -> None:
        """Fail, or queue again, what `_silent` has named."""
        id, _, execution = key.partition(":")
        with self._redis.pipeline() as pipe:
            pipe.watch(Job.key_for(id))
            if (pipe.zscore(self._started, key) if execution else pipe.lpos(self._taken, id)) is None:
                return  # another one was faster, and it may already run again
            job = self._queue.fetch_job(id)
            waits = job is not None and job.get_status() in (JobStatus.STARTED, JobStatus.QUEUED)
            pipe.multi()
            pipe.zrem(RUNNING, id)  # for how long nobody was there says nothing about its function
            pipe.zrem(self._started, key)
            pipe.lrem(self._taken, 1, id)
            if job is not None and waits:
                self._end(job, pipe)
            with suppress(WatchError):  # somebody else has changed the job: the next look tells
                pipe.execute()

    def _end(self, job: RQJob, pipe: Any) -> None:
        log.warning("Job %s has lost its worker", job.id)
        if job.should_retry:
            job.retry(self._queue, pipe)
        else:
            job.ended_at = now()
            # Both in RQ's words.
            started = job.get_status(refresh=False) == JobStatus.STARTED
            reason = "AbandonedJobError: the worker was lost" if started else "Job was stuck in intermediate queue."
            record_job_failure(job, reason, pipe)
