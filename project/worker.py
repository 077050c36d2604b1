"""Names the worker class: `rq worker --worker-class worker.Worker default`. The container `worker` runs it."""

from launchpad.worker.command import Worker

__all__ = ["Worker"]
