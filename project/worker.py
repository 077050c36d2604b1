"""The worker: takes jobs from the queue and runs them in another process. The container `worker` runs it."""

from launchpad.worker.connection import WorkerRedis
from launchpad.worker.worker import ForkingWorker, Worker

__all__ = ["ForkingWorker", "Worker", "WorkerRedis"]
