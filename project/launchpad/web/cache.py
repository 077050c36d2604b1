"""The answers to what pages ask again and again: each is made once, and kept until something changes.

Whatever changes a job says so on a channel, in the same step (see `index.py`). Redis tells us when it tells whoever
made the change that it is done, some microseconds earlier or later; so who stops, retries or deletes a job is answered
after one more question to Redis, and will not be told what was before. But for what nobody says, above all that a
worker has died, or that a time has come: that is seen when the answer is too old.

A process that is asked nothing does not listen, either. When too much has piled up, Redis ends its connection.
"""

from collections.abc import Callable
from threading import Lock
from time import monotonic

from redis import Redis
from redis.client import PubSub
from redis.exceptions import RedisError

from launchpad.queue.constants import CHANGES

MAX_AGE = 0.4  # seconds
PATIENCE = 0.2  # seconds that a request waits for the one that makes an answer; without Redis, that may take longer


class ResponseCache:
    """Keeps what was answered to which question, in this process."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._lock = Lock()
        self._kept: dict[bytes, str] = {}
        self._since = 0.0
        self._changes: PubSub | None = None  # not yet: gunicorn forks

    def get_or_make(self, key: bytes, make: Callable[[], str]) -> str:
        """Answer a question with what is kept, or else with what `make` answers now; its errors are not kept."""
        if not self._lock.acquire(timeout=PATIENCE):
            return make()
        try:
            self._listen()
            if monotonic() - self._since > MAX_AGE:
                self._forget()
            if key not in self._kept:
                self._kept[key] = make()
            return self._kept[key]
        finally:
            self._lock.release()

    def _listen(self) -> None:
        """Forget all if something was said, or may have been missed."""
        try:
            if self._changes is None:
                self._changes = self._redis.pubsub()
                self._changes.subscribe(CHANGES)
                self._changes.connection.register_connect_callback(self._forget)  # type: ignore[union-attr]
            while self._changes.get_message():
                self._forget()
        except RedisError:
            self._changes = None
            raise

    def _forget(self, *new: object) -> None:  # redis-py tells which connection is new
        self._kept.clear()
        self._since = monotonic()
