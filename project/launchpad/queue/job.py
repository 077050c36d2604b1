"""RQ's job, as this project has it: its data is JSON, and it keeps itself in the index."""

import re
import zlib
from contextlib import suppress
from typing import Any, Self

from redis import Redis
from redis.client import Pipeline
from rq import Queue, Retry
from rq.exceptions import NoSuchJobError
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.utils import now

from launchpad.functions.catalog import Function
from launchpad.queue.constants import MAX_ATTEMPTS, QUEUE
from launchpad.queue.descriptions import describe
from launchpad.queue.index import index
from launchpad.queue.scripts import LuaScript

SAVE_META = LuaScript("save_meta")
RUN = "launchpad.worker.runner.run"  # the one function that RQ calls
# Fields of a job by which RQ would call more functions, ask other hosts, or run it again. Jobs of ours have none of
# them, and whoever can write to Redis shall not choose what runs.
FOREIGN = re.compile(rb".*_callback_name|webhooks|repeat.*|rate_limit.*|group_id")
UNREADABLE = (ValueError, KeyError, zlib.error)  # what is raised by a result that RQ has not written


def queue_of(connection: Redis) -> Queue:
    """The one queue. With two, RQ takes jobs in a way that loses one when a worker is killed at that moment."""
    return Queue(QUEUE, connection=connection, job_class=Job, serializer="json")


class Job(RQJob):
    """RQ's job, which keeps itself in the index, and whose data is JSON: a pickle would run code in every reader."""

    @classmethod
    def of(cls, function: Function, arguments: dict[str, Any], id: str, connection: Redis) -> Self:
        """Make a job, not yet queued, of a function and its parsed arguments."""
        job: Self = cls.create(  # type: ignore[assignment]
            RUN,
            args=[function.module, function.name, arguments],
            id=id,
            origin=QUEUE,
            connection=connection,
            description=describe(function.name, arguments),
            timeout=function.timeout,
            result_ttl=function.result_ttl,
            failure_ttl=function.failure_ttl,
            retry=Retry(function.retries) if function.retries else None,
            serializer="json",
        )
        return job

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: Any = None):
        super().__init__(id, connection, serializer or JSONSerializer)

    @property
    def func(self) -> Any:
        """What RQ calls. A job that names anything else fails before that is even imported.

        Raises:
            PermissionError: it does.
        """
        if self.func_name != RUN or self.instance is not None:
            raise PermissionError(f"{str(self.func_name)[:100]} is not run: only functions of jobs.py with @job are.")
        return super().func

    def restore(self, raw_data: dict[bytes, bytes]) -> None:
        """Read the job from its hash, without the fields that are foreign to it, or that cannot be read."""
        fields = {name: value for name, value in raw_data.items() if not FOREIGN.fullmatch(name)}
        try:
            super().restore(fields)
        except NoSuchJobError:
            raise
        except Exception:  # of whatever kind: an error here would end the worker
            super().restore({name: value for name, value in fields.items() if self._is_readable(name, value)})
        self.timeout = self.timeout or Queue.DEFAULT_TIMEOUT
        self.origin = QUEUE

    def _is_readable(self, name: bytes, value: bytes) -> bool:
        try:
            super().restore({b"data": b"", name: value})
        except Exception:
            return False
        return True

    def _fetch_status(self) -> JobStatus:
        try:
            return super()._fetch_status()
        except ValueError:
            return JobStatus.CREATED  # what it says is no state

    def latest_result(self, timeout: int = 0) -> Result | None:
        """Return the latest result, or None if there is none, or it cannot be read."""
        with suppress(*UNREADABLE):
            return super().latest_result(timeout)
        return None

    def set_status(self, status: JobStatus, pipeline: Pipeline | None = None) -> None:
        """Write the state, here and in the index."""
        if status == JobStatus.STOPPED:
            self.ended_at = now()  # RQ saves it afterwards, but sets it for all other ends only
        super().set_status(status, pipeline)
        index(self.connection if pipeline is None else pipeline, self.id)

    def prepare_for_execution(self, worker_name: str, pipeline: Pipeline) -> None:
        """Write that the job has started, here and in the index."""
        super().prepare_for_execution(worker_name, pipeline)
        attempts = self.meta.get("attempts", [])[1 - MAX_ATTEMPTS :]
        attempts.append({"started_at": now().isoformat()})
        self.meta = {"attempt": self.meta.get("attempt", 0) + 1, "attempts": attempts}
        pipeline.hset(self.key, "meta", self._serialize_meta())
        pipeline.persist(self.key)  # RQ does it too, but only after this, and the index reads the time to live
        index(self.connection if pipeline is None else pipeline, self.id)

    def save_meta(self) -> None:
        """Write what a job tells of itself, unless it was deleted."""
        SAVE_META(self.connection, args=[self.key, self._serialize_meta()])

    def retry(self, queue: Queue, pipeline: Pipeline) -> None:
        """Queue the job again, with what its process has saved; the worker's copy is older, and would be written."""
        self.get_meta()
        super().retry(queue, pipeline)

    def cleanup(self, ttl: int | None = None, pipeline: Pipeline | None = None, remove_from_queue: bool = True) -> None:
        """Set the time to live, here and in the index."""
        super().cleanup(ttl, pipeline, remove_from_queue)
        index(self.connection if pipeline is None else pipeline, self.id)

    def delete(self, pipeline: Pipeline | None = None, *args: Any, **kwargs: Any) -> None:
        """Delete the job, here and in the index."""
        super().delete(pipeline, *args, **kwargs)
        index(self.connection if pipeline is None else pipeline, self.id)
