"""The worker's connection to Redis, which outlives a restart of it."""

import time
from typing import Any, Self

from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import OutOfMemoryError
from redis.retry import Retry

from launchpad.settings import Settings

MAX_OUTAGE_SECONDS = 120  # for which the worker tries, each second, to reach Redis


class PatientRetry(Retry):
    """Try again each second: for two minutes while Redis is away, and for as long as it is full.

    RQ's worker would end at the first write that is refused for want of memory, and the end of its job be lost.
    """

    def call_with_retry(self, do: Any, fail: Any, is_retryable: Any = None, with_failure_count: bool = False) -> Any:
        """Do it; `fail` disconnects, and in a transaction that watches something raises WatchError."""
        while True:
            try:
                return super().call_with_retry(do, fail, is_retryable, with_failure_count)
            except OutOfMemoryError as error:
                time.sleep(1)
                fail(error, 1) if with_failure_count else fail(error)


class WorkerRedis(Redis):
    """A connection that outlives a restart of Redis, and times without memory: the job goes on, and the worker too."""

    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> Self:
        """Connect with patience: redis-py's from_url would not try again even once."""
        retry = PatientRetry(ConstantBackoff(1), MAX_OUTAGE_SECONDS)
        return super().from_url(url, retry=retry, health_check_interval=30, **kwargs)  # type: ignore[return-value]


def connect(url: str | None = None) -> WorkerRedis:
    """Connect a worker to Redis; without a URL, to the one that the settings name.

    Raises:
        SystemExit: a setting is wrong.
    """
    settings = Settings.from_environ()
    return WorkerRedis.from_url(url or settings.redis_url)
