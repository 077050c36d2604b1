"""The job manager: everything that the pages, the API and the terminal do with jobs."""

import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from math import ceil
from typing import IO, Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError
from redis.retry import Retry as RedisRetry

from launchpad.functions.catalog import Function
from launchpad.queue import logs, schemas
from launchpad.queue.descriptions import read_description
from launchpad.queue.errors import JobNotFound, QueueFull, WrongState
from launchpad.queue.index import JobFilter, QueryResult, enqueue, ids_before, query_jobs, query_page
from launchpad.queue.job import Job, queue_of
from launchpad.queue.serialize import read_arguments, read_attempts, read_job, shorten_result
from launchpad.queue.transitions import end, existing, fetch, requeue
from launchpad.settings import Settings
from launchpad.storage import Store, safe_name

UNHEARD_SECONDS = 0.5  # after which a launch first asks whether Redis is there
PER_PAGE = 20
BATCH_SIZE = 100  # ids that an action on many jobs reads at a time


def connect(url: str) -> Redis:
    """Connect as a web process does: whoever waits for the page hears within two seconds that Redis is not there."""
    # One more try where a connection broke, since Redis may have been restarted; none after a time-out.
    retry = RedisRetry(NoBackoff(), 1, supported_errors=(ConnectionError,))
    return Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1.5, retry=retry)


class JobManager:
    """The jobs of one queue and the functions that can be launched on it."""

    def __init__(self, settings: Settings, functions: Mapping[str, Function]):
        self.functions = functions
        self._limit = settings.max_queued_jobs
        self._answered = 0.0
        self.redis = connect(settings.redis_url)
        self.files = Store(settings.files_url)
        self._queue = queue_of(self.redis)

    def launch(
        self, name: str, arguments: dict[str, Any], key: str | None = None, at: datetime | None = None
    ) -> tuple[schemas.Job, bool]:
        """Put a function with parsed arguments on the queue; return the job, and whether it is a new one.

        Args:
            name: a function of the catalog.
            arguments: what its `parse` returned.
            key: the same key again gives the same job.
            at: when it is to be queued; otherwise now.

        Raises:
            QueueFull: as many jobs as allowed are waiting.
        """
        id, function = str(uuid5(NAMESPACE_URL, key) if key else uuid4()), self.functions[name]
        if any(field.kind == "file" for field in function.fields):
            if key and Job.exists(id, self.redis):
                return self.get(id), False
            self._check_limit()
            arguments = function.with_files(arguments, partial(self.files.give, id))
        return self._enqueue(Job.of(function, arguments, id, self.redis), at)

    def launch_again(self, id: str, key: str) -> schemas.Job:
        """Put a function on the queue once more, with the arguments and files that another job has.

        Args:
            id: the other job.
            key: as `launch`.

        Raises:
            JobNotFound: there is no such job, or its function is no longer in the catalog.
            InvalidArguments: the function takes other arguments now.
            QueueFull: as many jobs as allowed are waiting.
        """
        arguments = read_arguments((job := fetch(_checked(id), self.redis)).data)
        name = read_description(job.description or "")[0]
        if (function := self.functions.get(name)) is None:
            raise JobNotFound(f"There is no function {name[:100]}.")
        arguments = function.parse_again(arguments)
        if Job.exists(new := str(uuid5(NAMESPACE_URL, f"{id} {key}")), self.redis):
            return self.get(new)
        self._check_limit()
        self.files.copy_inputs(id, new)
        return self._enqueue(Job.of(function, arguments, new, self.redis))[0]

    def open_file(self, id: str, name: str) -> tuple[IO[bytes], int]:
        """Open a file that a job returned; return it with its size in bytes.

        Raises:
            JobNotFound: there is no such job.
            FileNotFoundError: it has no such file.
        """
        if not Job.exists(_checked(id), self.redis):
            raise JobNotFound(f"There is no job {id}.")
        if name != safe_name(name):
            raise FileNotFoundError(name)
        path = f"{id}/out/{name}"
        return self.files.open(path), self.files.size(path)

    def _check_limit(self) -> None:
        if self._queue.count >= self._limit:
            raise self._full()

    def _full(self) -> QueueFull:
        return QueueFull(f"{self._limit} jobs are waiting already. Try again later.")

    def _enqueue(self, job: Job, at: datetime | None = None) -> tuple[schemas.Job, bool]:
        # A Redis that is frozen would do it when it awakes, though the launch was answered with 503.
        if time.monotonic() - self._answered > UNHEARD_SECONDS:
            self.redis.ping()
        is_new, result = enqueue(self.redis, job, self._limit, at if at and at > datetime.now(UTC) else None)
        self._answered = time.monotonic()
        if result is None:
            raise self._full()
        return self._one(result, job.id), is_new

    def get(self, id: str) -> schemas.Job:
        """Return one job, with its arguments whole.

        Raises:
            JobNotFound: there is none.
        """
        return self._one(query_jobs(self.redis, [_checked(id)]), id)

    def _one(self, result: QueryResult, id: str) -> schemas.Job:
        found = self._jobs(result)
        if not found:
            raise JobNotFound(f"There is no job {id}.")
        job = found[0]
        job.arguments = read_arguments(result.rows[0].data or b"") or job.arguments
        return job

    def attempts(self, id: str) -> list[schemas.Attempt]:
        """Return when each of the last attempts to run a job started, and of those that failed, when and why.

        Raises:
            JobNotFound: there is no such job.
        """
        state, meta = self.redis.hmget(Job.key_for(_checked(id)), "status", "meta")  # and not its arguments once more
        if not state:
            raise JobNotFound(f"There is no job {id}.")
        return read_attempts(meta or "")

    def log(self, id: str, after: int) -> schemas.Log:
        """Return what a job has printed after its first lines, of which the caller has read `after`.

        Raises:
            JobNotFound: there is none.
        """
        found = logs.log_after(_checked(id), after, self.redis)
        if found is None:
            raise JobNotFound(f"There is no job {id}.")
        return found

    def many(self, ids: list[str], function: str | None = None) -> schemas.Listing:
        """Return those of these jobs that exist, as a list with the counts of all, or of all of a function."""
        return self._listing(query_jobs(self.redis, list(filter(_is_id, ids)), function), 1, max(len(ids), 1))

    def page(
        self,
        state: str | None = None,
        function: str | None = None,
        q: str = "",
        page: int = 1,
        per_page: int = PER_PAGE,
    ) -> schemas.Listing:
        """Return a page of the jobs, newest first, in one round trip to Redis.

        Args:
            state: only jobs in this state.
            function: only jobs of this function; the counts are of these, too.
            q: only jobs whose arguments have all these words, or whose id begins with it.
            page: counted from 1.
            per_page: jobs on a page.
        """
        first = (page - 1) * per_page
        result = query_page(self.redis, JobFilter(state, function, q.strip()), first, first + per_page - 1)
        return self._listing(result, page, per_page)

    def stop(self, id: str) -> schemas.Job:
        """Cancel a job that waits; stop one that runs, with its child processes; kill one that is stopping already.

        Raises:
            JobNotFound: there is none.
            WrongState: it has ended.
        """
        job = fetch(_checked(id), self.redis)
        if not end(job, self._queue):
            raise WrongState(f"The job is {job.get_status()} already.")
        return self.get(id)

    def retry(self, id: str) -> schemas.Job:
        """Queue a job again that failed, was stopped or was canceled.

        Raises:
            JobNotFound: there is none.
            WrongState: it waits, runs or has finished.
        """
        job = fetch(_checked(id), self.redis)
        function = self.functions.get(read_description(job.description or "")[0])
        requeue(job, self._queue, function.retries if function else None)
        return self.get(id)

    def delete(self, id: str) -> None:
        """Delete a job and all that is kept of it; one that runs is stopped first.

        Raises:
            JobNotFound: there is none.
        """
        job = fetch(_checked(id), self.redis)
        end(job, self._queue, kill=True)
        with existing(id):
            job.refresh()
            job.delete()
        with suppress(*self.files.failures):  # then the sweep does it
            self.files.remove(id)
        self.redis.ping()  # see web/cache.py

    def act(
        self, action: str, state: str | None, function: str | None, q: str, before: str = "+inf", seconds: float = 5
    ) -> tuple[int, str]:
        """Stop, retry or delete the jobs that match, those of them for which it can be done.

        A hundred thousand take minutes, so this goes on for some seconds only. It returns for how many jobs it was
        done, and what `before` is to be the next time; "" when all were seen.
        """
        deadline = time.monotonic() + seconds
        done = 0
        job_filter = JobFilter(state, function, q.strip())
        while found := ids_before(self.redis, job_filter, before, BATCH_SIZE):
            for id, before in found:
                done += self._try(action, id)
                if time.monotonic() > deadline:
                    return done, before
        return done, ""

    def act_on(self, action: str, ids: list[str]) -> int:
        """Stop, retry or delete these jobs, those of them for which it can be done; return how many."""
        return sum(self._try(action, id) for id in ids)

    def _try(self, action: str, id: str) -> bool:
        with suppress(JobNotFound, WrongState):
            ACTIONS[action](self, id)
            return True
        return False

    def ping(self) -> int:
        """Ask Redis, and return the number of workers.

        Raises:
            redis.exceptions.RedisError: it does not answer.
        """
        workers: int = query_jobs(self.redis, []).workers
        return workers

    def _listing(self, result: QueryResult, page: int, per_page: int) -> schemas.Listing:
        jobs = self._jobs(result)
        for job in jobs:
            job.result = shorten_result(job.result)
        return schemas.Listing(
            jobs=jobs,
            counts=result.counts,
            page=page,
            pages=max(ceil(result.total / per_page), 1),
            total=result.total,
            workers=schemas.Workers(total=result.workers, busy=result.busy),
        )

    def _jobs(self, result: QueryResult) -> list[schemas.Job]:
        return [read_job(row) for row in result.rows if row.fields[0]]


ACTIONS: dict[str, Callable[[JobManager, str], object]] = {
    "stop": JobManager.stop,
    "retry": JobManager.retry,
    "delete": JobManager.delete,
}


def _is_id(text: str) -> bool:
    return re.fullmatch(r"[\w-]{1,100}", text, re.ASCII) is not None


def _checked(id: str) -> str:
    """Refuse what cannot be an id, before it becomes a part of a key."""
    if not _is_id(id):
        raise JobNotFound(f"There is no job {id[:100]}.")
    return id
