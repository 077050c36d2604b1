"""The answers to what pages ask again and again: each is made once, and kept until something changes.

Whatever changes a job says so on a channel, in the same step (see `queue/lua/index.lua`). Redis tells us when it tells
whoever made the change that it is done, some microseconds earlier or later; so who stops, retries or deletes a job is
answered after one more question to Redis, and will not be told what was before. But for what nobody says, above all
that a worker has died, or that a time has come: that is seen when the answer is too old.

A process that is asked nothing does not listen, either. When too much has piled up, Redis ends its connection.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic

from redis import Redis
from redis.client import PubSub
from redis.exceptions import RedisError

from launchpad.queue.constants import CHANGES, PROGRESS

MAX_AGE_SECONDS = 0.4
MAX_WAIT_SECONDS = 0.2  # that a request waits for the one that makes an answer; without Redis, that may take longer


@dataclass
class _Answers:
    """What was answered to which question, and since when."""

    texts: dict[bytes, str] = field(default_factory=dict)
    since: float = 0.0

    def forget(self) -> None:
        self.texts.clear()
        self.since = monotonic()


class ResponseCache:
    """Keeps what was answered to which question, in this process."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._lock = Lock()
        self._answers = _Answers()
        self._answers_without_progress = _Answers()
        self._meanwhile_lock = Lock()
        self._made_meanwhile = (b"", 0.0, "")  # the question, when its answer was begun, the answer
        self._changes: PubSub | None = None  # not yet: gunicorn forks

    def get_or_make(self, key: bytes, make: Callable[[], str], *, progress_can_wait: bool = False) -> str:
        """Answer a question with what is kept, or else with what `make` answers now; its errors are not kept.

        Args:
            key: the question.
            make: makes the answer.
            progress_can_wait: whether what a job says of its progress is seen only when the answer is too old; a
                job may say something ten times a second, and the answer may take long to make.
        """
        arrived = monotonic()
        if not self._lock.acquire(timeout=MAX_WAIT_SECONDS):
            return self._make_meanwhile(key, make, arrived)
        try:
            self._listen()
            answers = self._answers_without_progress if progress_can_wait else self._answers
            if monotonic() - answers.since > MAX_AGE_SECONDS:
                answers.forget()
            if key not in answers.texts:
                answers.texts[key] = make()
            return answers.texts[key]
        finally:
            self._lock.release()

    def _make_meanwhile(self, key: bytes, make: Callable[[], str], arrived: float) -> str:
        """Make an answer while another one takes long, or take one that was begun after the question had arrived.

        Were each of many that wait to make its own, all would take longer still.
        """
        is_first = self._meanwhile_lock.acquire(timeout=MAX_WAIT_SECONDS)
        try:
            question, begun, text = self._made_meanwhile
            if question != key or begun < arrived:
                begun, text = monotonic(), make()
                self._made_meanwhile = key, begun, text
            return text
        finally:
            if is_first:
                self._meanwhile_lock.release()

    def _listen(self) -> None:
        """Forget all that is no longer so if something was said, or may have been missed."""
        try:
            if self._changes is None:
                self._changes = self._redis.pubsub()
                self._changes.subscribe(CHANGES)
                self._changes.connection.register_connect_callback(self._forget)  # type: ignore[union-attr]
            while message := self._changes.get_message():
                if message["data"] == PROGRESS.encode():
                    self._answers.forget()
                else:
                    self._forget()
        except RedisError:
            self._changes = None
            raise

    def _forget(self, *new: object) -> None:  # redis-py tells which connection is new
        self._answers.forget()
        self._answers_without_progress.forget()
