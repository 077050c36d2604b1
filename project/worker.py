"""The worker: takes jobs from the queue and runs each in a process of its own. The container `worker` runs it.

It does not import `jobs`: the process that is forked for a job does, and so runs the newest source. What all jobs
need (pydantic, tqdm) is imported here, once.
"""

import signal
import tempfile
from pathlib import Path
from typing import Any, Self

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from rq.worker import HerokuWorker
from rq.worker import Worker as PlainWorker

import launchpad.runner  # noqa: F401 - so that the processes of the jobs find it imported
from launchpad import shipper
from launchpad.scheduler import Scheduler
from launchpad.settings import Settings

HEARTBEAT = Path(tempfile.gettempdir(), "worker-heartbeat")


class WorkerRedis(Redis):
    """A connection that outlives a restart of Redis: the job goes on, and the worker too."""

    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> Self:
        """Connect with patience: redis-py's from_url would not try again even once.

        Raises:
            SystemExit: a setting is wrong.
        """
        Settings.from_environ()
        retry = Retry(ConstantBackoff(1), 120)
        return super().from_url(url, retry=retry, health_check_interval=30, **kwargs)  # type: ignore[return-value]


# HerokuWorker: on SIGTERM the job gets six seconds and is then failed, or queued again if it has retries. RQ's plain
# worker waits for the job, however long, until Docker kills both and the job is left as if it were running.
# macOS has no SIGRTMIN, with which it asks the job.
class Worker(HerokuWorker if hasattr(signal, "SIGRTMIN") else PlainWorker):  # type: ignore[misc]
    """RQ's worker, one process per job, that shows its container that it is alive."""

    def heartbeat(self, *args: Any, **kwargs: Any) -> None:
        """Tell Redis, and then the health check, which looks at the age of a file."""
        super().heartbeat(*args, **kwargs)
        HEARTBEAT.touch()

    def fork_work_horse(self, *args: Any, **kwargs: Any) -> None:
        """Fork the process of a job; somebody must be there to take its log."""
        shipper.ensure(self.connection)
        super().fork_work_horse(*args, **kwargs)

    def _start_scheduler(self, burst: bool = False, *args: Any, **kwargs: Any) -> None:
        """Start our scheduler instead of RQ's, and always: RQ starts only the one that gets the lock."""
        self.scheduler = Scheduler(self.queues, connection=self.connection, serializer=self.serializer)
        self.scheduler.acquire_locks()
        if burst:
            self.scheduler.enqueue_scheduled_jobs()
            self.scheduler.release_locks()
        else:
            self.scheduler.start()
