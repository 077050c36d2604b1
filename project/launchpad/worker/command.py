"""What `rq worker --worker-class worker.Worker default` starts; all that it needs to know belongs to the class."""

import logging

from rq.cli.helpers import CliConfig

from launchpad.worker.connection import WorkerRedis, connect
from launchpad.worker.worker import Worker

__all__ = ["Worker"]


def connection_of_command(config: CliConfig) -> WorkerRedis:
    """Return the worker's connection, for the command itself.

    Before it makes the worker it asks Redis whether the workers are suspended, and with a connection of its own it
    would end when Redis is not there yet.
    """
    if config._connection is None:
        config._connection = connect(config.url)  # type: ignore[assignment]
    return config._connection  # type: ignore[return-value]


CliConfig.connection = property(connection_of_command)  # type: ignore[method-assign, assignment]


def is_news(record: logging.LogRecord) -> bool:
    """Tell whether a line of RQ's is news: that it is cleaning its registries, it says every fifteen seconds."""
    return ": cleaning " not in str(record.msg)


logging.getLogger("rq.worker").addFilter(is_news)
