"""What `rq worker --worker-class worker.Worker default` starts; all that it needs to know belongs to the class."""

import os
from typing import Any

from rq.cli.helpers import CliConfig

from launchpad.settings import Settings
from launchpad.worker.connection import WorkerRedis, connect
from launchpad.worker.warm import WarmProcess
from launchpad.worker.worker import ForkingWorker


class WarmWorker(WarmProcess, ForkingWorker):  # type: ignore[misc]
    """The worker for production: one process runs many jobs."""


class Worker(ForkingWorker):
    """The worker that the settings ask for: a WarmWorker, or with RELOAD_JOBS a ForkingWorker.

    Raises:
        SystemExit: a setting is wrong.
    """

    def __new__(cls, *args: Any, **options: Any) -> ForkingWorker:
        """Make it. This is the one place that tells development from production."""
        # Without pidfd (elsewhere than on Linux) a process that is kept could outlive its worker.
        if Settings.from_environ().reload_jobs or not has_pidfd():
            return ForkingWorker(*args, **options)
        return WarmWorker(*args, **options)


def has_pidfd() -> bool:
    """Tell whether the system can watch a process by a file: Linux does since 5.3, unless a sandbox forbids it."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def connection_of_command(config: CliConfig) -> WorkerRedis:
    """Return the worker's connection, for the command itself.

    Before it makes the worker it asks Redis whether the workers are suspended, and with a connection of its own it
    would end when Redis is not there yet.
    """
    if config._connection is None:
        config._connection = connect(config.url)  # type: ignore[assignment]
    return config._connection  # type: ignore[return-value]


CliConfig.connection = property(connection_of_command)  # type: ignore[method-assign, assignment]
