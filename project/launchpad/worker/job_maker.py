"""RQ's jobs, made of what Redis, or another process, tells of them: RQ's own ways take as long as all else of a job."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from rq.executions import Execution
from rq.results import Result
from rq.serializers import JSONSerializer

from launchpad.queue.job import Job

TIMES = (b"created_at", b"enqueued_at", b"started_at", b"last_heartbeat")  # which RQ's `restore` is slow to read


class JobMaker:
    """Makes jobs that are like those of RQ's constructor.

    Args:
        connection: what the jobs use to reach Redis.
    """

    def __init__(self, connection: Redis):
        self.blank = Job("blank", connection, JSONSerializer)

    def make(self, state: dict[str, Any]) -> Job:
        """Make a job with this state, which `state_of` has told, maybe in another process."""
        job: Job = Job.__new__(Job)
        vars(job).update(vars(self.blank), meta={}, _dependency_ids=[])
        vars(job).update(state)
        return job

    def restore(self, id: str, fields: list[bytes], moment: datetime) -> Job:
        """Make a job that was started at a moment, of the names and values of its hash."""
        values = dict(zip(fields[::2], fields[1::2], strict=True))
        created, *_ = (values.pop(name, b"") for name in TIMES)
        job = self.make({"_id": id})
        job.restore(values)
        with suppress(ValueError):
            job.created_at = datetime.fromisoformat(created.decode()).replace(tzinfo=UTC)
        job.started_at = job.last_heartbeat = moment
        return job

    def fields_of_result(self, job: Job, run: Execution, result: Any) -> list[Any]:
        """Return what RQ keeps of a result: name, value, name, value, …"""
        stored = Result(
            job.id, Result.Type.SUCCESSFUL, self.blank.connection, return_value=result, serializer=JSONSerializer,
            worker_name=run.worker_name, execution_id=run.id, execution_started_at=run.created_at,
            execution_ended_at=job.ended_at,
        )  # fmt: skip
        return [part for pair in stored.serialize().items() for part in pair]

    def state_of(self, job: Job) -> dict[str, Any]:
        """Tell in what a job differs from a blank one."""
        blank = vars(self.blank)
        return {name: value for name, value in vars(job).items() if value is not blank.get(name)}


def function_of(job: Job) -> str:
    """Return the name of a job's function; where it cannot be read, the process of the job says what is wrong."""
    try:
        return str(job.args[1])
    except Exception:  # whatever somebody has written there
        return ""
