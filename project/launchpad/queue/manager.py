"""The job manager: everything that the pages, the API and the terminal do with jobs."""

import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from math import ceil, inf
from typing import IO, Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from pydantic import ValidationError
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, WatchError
from redis.retry import Retry as RedisRetry
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.registry import CanceledJobRegistry
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.utils import utcparse

from launchpad.encoding import parse_json, parse_json_object
from launchpad.functions.catalog import Function
from launchpad.queue import logs, schemas
from launchpad.queue.index import JobFilter, QueryResult, Row, enqueue, ids_before, query_jobs, query_page
from launchpad.queue.job import RUN, UNREADABLE, Job, queue_of
from launchpad.queue.serialize import job_of, read_description, shorten_result
from launchpad.queue.states import ENDED, RETRYABLE, WAITING
from launchpad.settings import Settings
from launchpad.storage import Store, safe_name

SILENCE = 0.5  # seconds after which a launch first asks whether Redis is there
PATIENCE = 2.0  # seconds that a person waits for a running job to stop
PER_PAGE = 20
BATCH = 100  # ids that an action on many jobs reads at a time


class JobNotFound(LookupError):
    """There is no such job: it never was, was deleted, or its time was over."""


class WrongState(Exception):
    """The job is in a state in which this cannot be done; the message says which."""


class QueueFull(Exception):
    """There are as many jobs in the queue as the settings allow."""


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
        """Put a function with parsed arguments on the queue, and answer the job and whether it is a new one.

        Args:
            name: a function of the catalog.
            arguments: what its `parse` answered.
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
        arguments = _arguments((job := self._fetch(id)).data)
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
        """Open a file that a job returned, and tell its size in bytes.

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
        if time.monotonic() - self._answered > SILENCE:
            self.redis.ping()
        is_new, result = enqueue(self.redis, job, self._limit, at if at and at > datetime.now(UTC) else None)
        self._answered = time.monotonic()
        if result is None:
            raise self._full()
        return self._one(result, job.id), is_new

    def get(self, id: str) -> schemas.Job:
        """Answer one job, with its arguments whole.

        Raises:
            JobNotFound: there is none.
        """
        return self._one(query_jobs(self.redis, [_checked(id)]), id)

    def _one(self, result: QueryResult, id: str) -> schemas.Job:
        found = self._jobs(result)
        if not found:
            raise JobNotFound(f"There is no job {id}.")
        job = found[0]
        job.arguments = _arguments(result.rows[0].data or b"") or job.arguments
        return job

    def attempts(self, id: str) -> list[schemas.Attempt]:
        """Tell when each of the last attempts to run a job started, and if it raised, when and what.

        Raises:
            JobNotFound: there is no such job.
        """
        state, meta = self.redis.hmget(Job.key_for(_checked(id)), "status", "meta")  # and not its arguments once more
        if not state:
            raise JobNotFound(f"There is no job {id}.")
        found = parse_json_object(meta or "").get("attempts")
        return [attempt for one in found if (attempt := _attempt(one))] if isinstance(found, list) else []

    def log(self, id: str, after: int) -> schemas.Log:
        """Answer what a job has printed after its first lines, of which the caller has read `after`.

        Raises:
            JobNotFound: there is none.
        """
        with self.redis.pipeline() as pipe:
            pipe.hmget(Job.key_for(_checked(id)), "status", "ended_at")
            pipe.xrange(logs.KEY_PREFIX + id, f"{after}-1", count=logs.MAX_PAGE_LINES)
            (state, ended_at), entries = pipe.execute()
        if not state:
            raise JobNotFound(f"There is no job {id}.")
        lines, last, whole = logs.read_log(entries, after)
        silent = state == b"finished" and not (entries or after)
        late = not lines and _passed(ended_at) > logs.LATE_SECONDS  # the log collector was lost with the worker
        ended = state.decode(errors="replace") in ENDED
        return schemas.Log(lines=lines, next=last, complete=ended and (whole or silent or late))

    def many(self, ids: list[str], function: str | None = None) -> schemas.Listing:
        """Answer those of these jobs that exist, as a list with the counts of all, or of all of a function."""
        return self._listing(query_jobs(self.redis, list(filter(_is_id, ids)), function), 1, max(len(ids), 1))

    def page(
        self,
        state: str | None = None,
        function: str | None = None,
        q: str = "",
        page: int = 1,
        per_page: int = PER_PAGE,
    ) -> schemas.Listing:
        """Answer a page of the jobs, newest first, in one round trip to Redis.

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
        """Cancel a job that waits; stop one that runs, with its child processes.

        Raises:
            JobNotFound: there is none.
            WrongState: it has ended.
        """
        job = self._fetch(id)
        if not self._end(job):
            raise WrongState(f"The job is {job.get_status()} already.")
        return self.get(id)

    def retry(self, id: str) -> schemas.Job:
        """Queue a job again that failed, was stopped or was canceled.

        Raises:
            JobNotFound: there is none.
            WrongState: it waits, runs or has finished.
        """
        job = self._fetch(id)
        with self.redis.pipeline() as pipe:
            pipe.watch(job.key)  # of two people who click at once, one is told that it is queued already
            job.refresh()
            if job.get_status(refresh=False) not in RETRYABLE:
                raise WrongState(f"The job is {job.get_status(refresh=False)}.")
            pipe.multi()
            self._requeue(job, pipe)
            with _unchanged():
                pipe.execute()
        return self.get(id)

    def delete(self, id: str) -> None:
        """Delete a job and all that is kept of it; one that runs is stopped first.

        Raises:
            JobNotFound: there is none.
        """
        job = self._fetch(id)
        self._end(job)
        with _existing(id):
            job.refresh()
            job.delete()
        with suppress(*self.files.failures):  # then the sweep does it
            self.files.remove(id)
        self.redis.ping()  # see answers.py

    def act(
        self, action: str, state: str | None, function: str | None, q: str, before: str = "+inf", seconds: float = 5
    ) -> tuple[int, str]:
        """Stop, retry or delete the jobs that match, those of them for which it can be done.

        A hundred thousand take minutes, so this goes on for some seconds only, and answers for how many jobs it was
        done, and what `before` is to be the next time; "" when all were seen.
        """
        deadline = time.monotonic() + seconds
        done = 0
        job_filter = JobFilter(state, function, q.strip())
        while found := ids_before(self.redis, job_filter, before, BATCH):
            for id, before in found:
                done += self._try(action, id)
                if time.monotonic() > deadline:
                    return done, before
        return done, ""

    def act_on(self, action: str, ids: list[str]) -> int:
        """Stop, retry or delete these jobs, those of them for which it can be done, and answer how many."""
        return sum(self._try(action, id) for id in ids)

    def _try(self, action: str, id: str) -> bool:
        with suppress(JobNotFound, WrongState):
            ACTIONS[action](self, id)
            return True
        return False

    def ping(self) -> int:
        """Ask Redis, and answer the number of workers.

        Raises:
            redis.exceptions.RedisError: it does not answer.
        """
        workers: int = query_jobs(self.redis, []).workers
        return workers

    # -- one job

    def _fetch(self, id: str) -> RQJob:
        with _existing(id):
            return Job.fetch(_checked(id), self.redis)

    def _end(self, job: RQJob) -> bool:
        """End a job that waits or runs; answer False where it has ended by itself.

        The worker may take the job, start it or finish it between any two of these lines; each pass looks anew.
        """
        deadline = time.monotonic() + PATIENCE
        ended = False
        while time.monotonic() < deadline:
            with _existing(job.id):
                state = job.get_status()
            if state == JobStatus.STARTED:
                ended = True
                self._send_stop(job)
                time.sleep(0.05)
            elif state in WAITING:
                if self._cancel(job):
                    return True
                time.sleep(0.05)  # a worker holds it and is about to start it
            else:
                return ended
        return ended

    def _send_stop(self, job: RQJob) -> None:
        """Ask the worker; it does not listen to this before it has started the job, so it is asked until it is done."""
        with suppress(InvalidJobOperation, NoSuchJobError):  # it has just ended: the next look tells
            send_stop_job_command(self.redis, job.id, serializer="json")

    def _cancel(self, job: RQJob) -> bool:
        """Cancel a job that waits; answer False where a worker took it meanwhile."""
        with self.redis.pipeline() as pipe:
            pipe.watch(job.key)
            waiting = job.get_status() == JobStatus.QUEUED
            pipe.multi()
            self._queue.remove(job, pipeline=pipe)
            job.cancel(pipeline=pipe)
            try:
                removed = pipe.execute()[0]
            except WatchError:
                return False
        if waiting and not removed:  # a worker has it: what it writes next counts
            CanceledJobRegistry(queue=self._queue).remove(job)
            return False
        return True

    def _requeue(self, job: RQJob, pipe: Any) -> None:
        job.started_at = job.ended_at = None
        if function := self.functions.get(read_description(job.description or "")[0]):
            job.retries_left = function.retries or None
        job.failed_job_registry.remove(job, pipeline=pipe)
        CanceledJobRegistry(queue=self._queue).remove(job, pipeline=pipe)
        self._queue._enqueue_job(job, pipeline=pipe)
        pipe.persist(job.key)  # it was to expire

    # -- many jobs

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
        return [job_of(row.id, row.fields, _latest(row, self.redis), *row[1:5]) for row in result.rows if row.fields[0]]


ACTIONS: dict[str, Callable[[JobManager, str], object]] = {
    "stop": JobManager.stop,
    "retry": JobManager.retry,
    "delete": JobManager.delete,
}


class PlainJSON(JSONSerializer):
    """Reads JSON that somebody else may have written."""

    loads = staticmethod(parse_json)


def _attempt(value: Any) -> schemas.Attempt | None:
    try:
        return schemas.Attempt.model_validate(value)
    except ValidationError:
        return None


def _latest(row: Row, connection: Redis) -> Result | None:
    for key, parts in row.results:
        with suppress(*UNREADABLE):
            payload = dict(zip(parts[::2], parts[1::2], strict=True))
            return Result.restore(row.id, key.decode(), payload, connection, PlainJSON)
    return None


def _arguments(data: bytes) -> dict[str, Any]:
    """Tell the arguments of a job, whole; none of one that somebody else put on the queue."""
    with suppress(zlib.error):
        data = zlib.decompress(data)
    with suppress(ValueError):
        match parse_json(data):
            case [str(name), _, [_, _, dict(arguments)], _] if name == RUN:
                return arguments
    return {}


def _passed(time: bytes) -> float:
    """Tell how many seconds have passed since a time of RQ's, or that it has never been."""
    with suppress(ValueError):
        return (datetime.now(UTC) - utcparse(time.decode()).replace(tzinfo=UTC)).total_seconds() if time else inf
    return inf


def _is_id(text: str) -> bool:
    return re.fullmatch(r"[\w-]{1,100}", text, re.ASCII) is not None


def _checked(id: str) -> str:
    """Refuse what cannot be an id, before it becomes a part of a key."""
    if not _is_id(id):
        raise JobNotFound(f"There is no job {id[:100]}.")
    return id


@contextmanager
def _existing(id: str) -> Iterator[None]:
    try:
        yield
    except (NoSuchJobError, InvalidJobOperation):
        raise JobNotFound(f"There is no job {id}.") from None


@contextmanager
def _unchanged() -> Iterator[None]:
    try:
        yield
    except WatchError:
        raise WrongState("Somebody else was faster.") from None
