"""The index of jobs: what makes "all jobs, newest first, page 7" one round trip, whatever their number.

RQ keeps a queue, and a registry per state ordered by expiry; none of them tells all jobs by age, and `stopped` has
no registry of its own. So every job is also a member of some sorted sets, scored by the time of its launch: all jobs,
those of its state, those of its function, those of both, and for the search, those with each word of its arguments;
ids are found by how they begin. A set per word, and not a scan: a scan of 100,000 jobs would stop Redis for everybody.
Its keys are listed in lua/index.lua.

The index is never the truth: `index(id)` derives a job's entries anew from the hash that RQ keeps for it. It runs in
the transaction of each change of state (see `Job`), so the two cannot differ; what disappears by itself (a job's time
to live, RQ's clean-up, a key deleted by hand) is noticed and dropped by the next reader, and what RQ's own workers
change is seen within a second (see `catch_up`).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self

from redis import Redis
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.utils import now

from launchpad.queue.estimates import Outlook
from launchpad.queue.scripts import LuaScript
from launchpad.queue.states import STATES

INDEX_JOB = LuaScript("index_job")
CATCH_UP = LuaScript("catch_up")
QUERY_PAGE = LuaScript("query_page")
QUERY_JOBS = LuaScript("query_jobs")
IDS_BEFORE = LuaScript("ids_before")
ENQUEUE = LuaScript("enqueue")


class JobFilter(NamedTuple):
    """Which jobs are meant: those in this state, of this function, and with all words of the search `q`."""

    state: str | None = None
    function: str | None = None
    q: str = ""

    def query(self) -> dict[str, Any]:
        """Return what is asked for, as a link has it."""
        return {name: value for name, value in self._asdict().items() if value}

    def set_name(self) -> str:
        """Name the sorted set of the jobs in this state and of this function, as the scripts do."""
        if self.state and self.function:
            return f"both:{self.state}:{self.function}"
        if self.function:
            return f"function:{self.function}"
        return f"state:{self.state}" if self.state else "jobs"


class Row(NamedTuple):
    """What the index knows of a job: its place in the queue, from 1, and Unix times in seconds."""

    id: str
    position: int | None
    expires: float | None
    scheduled: float | None
    starts: float | None  # an estimate
    fields: list[bytes | None]  # the values of `FIELDS` in its hash
    results: list[Any]  # its latest result, as XREVRANGE tells it
    data: bytes | None  # what RQ will call, with all arguments, if a single job was asked for

    @classmethod
    def read(cls, answer: "_RowAnswer", outlook: Outlook) -> Self:
        """Make a row of what a script answers."""
        return cls(
            id=answer.id.decode(),
            position=answer.position,
            expires=float(answer.expires) / 1e6 if answer.expires else None,
            scheduled=float(answer.scheduled) if answer.scheduled else None,
            starts=outlook.start(answer.position, answer.ahead) if answer.position else None,
            fields=answer.fields,
            results=answer.results,
            data=answer.data,
        )


class _RowAnswer(NamedTuple):
    """A row as lua/query.lua describes it."""

    id: bytes
    position: int | None
    expires: bytes | None
    scheduled: bytes | None
    ahead: list[int]
    fields: list[bytes | None]
    results: list[Any]
    data: bytes | None


class _Answer(NamedTuple):
    """A query result as lua/query.lua describes it."""

    rows: list[list[Any]]
    total: int
    counts: list[int]
    workers: int
    busy: int
    durations: list[bytes]
    running: list[Any]


@dataclass(frozen=True)
class QueryResult:
    """What one look at the index found: the rows that were asked for, and what the whole of it holds."""

    rows: list[Row]
    total: int  # of the rows, on all pages
    counts: dict[str, int]  # of the jobs in each state
    workers: int
    busy: int  # of the workers

    @classmethod
    def read(cls, answer: list[Any]) -> Self:
        """Make a query result of what a script answers."""
        found = _Answer(*answer)
        outlook = Outlook(found.workers, found.durations, found.running)
        return cls(
            rows=[Row.read(_RowAnswer(*row), outlook) for row in found.rows],
            total=found.total,
            counts=dict(zip(STATES, found.counts, strict=True)),
            workers=found.workers,
            busy=found.busy,
        )


def query_page(connection: Redis, job_filter: JobFilter, first: int, last: int) -> QueryResult:
    """Return the jobs of rank `first` to `last`, of which 0 is the newest, in one round trip.

    The counts are those of all jobs of the function, whatever their state.
    """
    function, q = job_filter.function or "", job_filter.q
    return QueryResult.read(QUERY_PAGE(connection, args=[function, job_filter.set_name(), q, first, last]))


def query_jobs(connection: Redis, ids: list[str], function: str | None = None) -> QueryResult:
    """Return the jobs with these ids, without those that do not exist, in one round trip."""
    return QueryResult.read(QUERY_JOBS(connection, args=[function or "", *ids]))


def ids_before(connection: Redis, job_filter: JobFilter, launched: str, number: int) -> list[tuple[str, str]]:
    """Return ids and launch times, newest first, of at most so many jobs that were launched before a time.

    "+inf" begins; to go on, give the last launch time of the answer.
    """
    found = IDS_BEFORE(connection, args=[job_filter.set_name(), job_filter.q, launched, number])
    texts = [item.decode() for item in found]
    return list(zip(texts[::2], texts[1::2], strict=True))


def enqueue(connection: Redis, job: RQJob, limit: int, at: datetime | None) -> tuple[bool, QueryResult | None]:
    """Put a job on the queue, or among those that are due at a time, and look at it, in one round trip.

    Return whether it is a new one, and the look; of the look None, if as many as allowed wait already.
    """
    job.enqueued_at, job._status = now(), JobStatus.SCHEDULED if at else JobStatus.QUEUED
    fields = [part for pair in job.to_dict().items() for part in pair]
    answer = ENQUEUE(connection, args=[job.id, limit, at.timestamp() if at else "", *fields])
    return (bool(answer[0]), QueryResult.read(answer[1])) if answer else (False, None)


def index(connection: Redis, id: str) -> None:
    """Derive a job's entries in the index from its hash; with a pipeline, as a part of it."""
    INDEX_JOB(connection, args=[id])


def catch_up(connection: Redis) -> None:
    """Bring into the index what has expired, and what RQ's own workers have changed; to be called each second."""
    CATCH_UP(connection)
