"""What is asked again and again is answered from memory, but never with what is not so any more."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Event
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from redis.client import PubSub

from helpers import wait_until
from launchpad.queue.job import Job
from launchpad.queue.manager import JobManager
from launchpad.settings import Settings
from launchpad.web.cache import MAX_AGE_SECONDS, MAX_WAIT_SECONDS, ResponseCache
from server import create_app


@pytest.fixture
def other(settings: Settings) -> Iterator[FlaskClient]:
    """Another process of the server, so to speak."""
    app = create_app(settings)
    yield app.test_client()
    app.extensions["launchpad"].manager.redis.close()


def asked(redis: Redis, action: Callable[[], Any]) -> int:
    """Tell how many scripts and commands Redis has run meanwhile, but for our own look."""
    before = redis.info("stats")["total_commands_processed"]
    action()
    return int(redis.info("stats")["total_commands_processed"]) - before - 1


@pytest.mark.parametrize(
    "path", ["/api/jobs?id={}", "/api/jobs/{}", "/api/jobs?state=queued", "/fragments/jobs", "/fragments/jobs/{}"]
)
def test_redis_is_not_asked_again_as_long_as_nothing_changes(
    client: FlaskClient, manager: JobManager, redis: Redis, path: str
) -> None:
    path = path.format(manager.launch("wait", {})[0].id)
    first = client.get(path)

    def again() -> None:
        for _ in range(20):
            assert client.get(path).data == first.data

    fewest = min(asked(redis, again) for _ in range(5))  # it may have become too old once
    assert fewest == 0


def test_what_somebody_has_done_is_seen_at_once_in_every_process(other: FlaskClient, manager: JobManager) -> None:
    def after(change: Callable[[], Any], path: str) -> Any:
        """What the other process tells after a change was made here, and it had been asked before."""
        other.get(path)
        change()
        return other.get(path).json

    for _ in range(50):
        id = manager.launch("wait", {"num_iterations": 1})[0].id
        path = f"/api/jobs/{id}"
        assert after(lambda id=id: manager.stop(id), path)["state"] == "canceled"
        assert after(lambda id=id: manager.retry(id), path)["state"] == "queued"
        assert after(lambda id=id: manager.delete(id), "/api/jobs?id=x")["counts"]["queued"] == 0
        assert other.get(path).status_code == 404


def test_what_a_job_says_and_what_is_launched_is_seen_soon(other: FlaskClient, manager: JobManager) -> None:
    def see(path: str, what: Callable[[Any], bool]) -> None:
        wait_until(lambda: what(other.get(path).json), MAX_AGE_SECONDS / 4)  # by far sooner than if nothing were said

    for number in range(1, 20):
        other.get("/api/jobs")
        job = Job.fetch(manager.launch("wait", {})[0].id, manager.redis)
        see("/api/jobs", lambda listing, number=number: listing["total"] == number)
        other.get(f"/api/jobs/{job.id}")
        job.meta = {"attempt": number}
        job.save_meta()
        see(f"/api/jobs/{job.id}", lambda job, number=number: job["attempt"] == number)


def test_a_page_is_not_made_anew_each_time_that_a_job_tells_its_progress(
    other: FlaskClient, manager: JobManager, redis: Redis
) -> None:
    job = Job.fetch(manager.launch("wait", {})[0].id, manager.redis)
    path = f"/fragments/jobs/{job.id}"

    def save(looks: bool) -> None:
        for number in range(5):
            job.meta = {"attempt": number}
            job.save_meta()
            assert not looks or other.get(path).status_code == 200

    other.get(path)
    fewest = min(asked(redis, lambda: save(True)) for _ in range(5))  # it may have become too old once
    assert fewest == asked(redis, lambda: save(False))
    wait_until(lambda: "attempt 4" in other.get(path).text, MAX_AGE_SECONDS + 1)
    manager.stop(job.id)
    assert 'data-state="canceled"' in other.get(path).text


def test_a_worker_is_seen_to_start_and_to_end_a_job(
    other: FlaskClient, manager: JobManager, work: Callable[[], None]
) -> None:
    id = manager.launch("wait", {"num_iterations": 1})[0].id
    assert other.get(f"/api/jobs/{id}").json["state"] == "queued"
    work()
    assert other.get(f"/api/jobs/{id}").json["state"] == "finished"


def test_what_nobody_says_is_seen_soon(client: FlaskClient, idle_worker: PubSub) -> None:
    assert client.get("/api/jobs").json["workers"]["total"] == 1
    idle_worker.close()
    wait_until(lambda: client.get("/api/jobs").json["workers"]["total"] == 0, MAX_AGE_SECONDS + 1)


def test_nothing_is_missed_when_the_connection_is_cut(client: FlaskClient, manager: JobManager, redis: Redis) -> None:
    for _ in range(20):
        id = manager.launch("wait", {})[0].id
        assert client.get(f"/api/jobs/{id}").json["state"] == "queued"
        redis.client_kill_filter(_type="pubsub")
        manager.stop(id)
        assert client.get(f"/api/jobs/{id}").json["state"] == "canceled"


@pytest.fixture
def answers(app: Flask) -> ResponseCache:
    found: ResponseCache = app.extensions["launchpad"].cache
    return found


def test_an_answer_that_takes_long_holds_nobody_up(answers: ResponseCache) -> None:
    begun, let_go = Event(), Event()

    def slow() -> str:
        begun.set()
        assert let_go.wait(20)
        return "slow"

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(answers.get_or_make, b"?", slow)
        assert begun.wait(20)
        start = time.monotonic()
        assert answers.get_or_make(b"?", lambda: "quick") == "quick"
        assert time.monotonic() - start < MAX_WAIT_SECONDS + 1
        let_go.set()
        assert first.result() == "slow"


def test_an_error_is_not_kept(answers: ResponseCache) -> None:
    with pytest.raises(ZeroDivisionError):
        answers.get_or_make(b"?", lambda: str(1 / 0))
    assert answers.get_or_make(b"?", lambda: "fine") == "fine"


def test_many_that_wait_for_an_answer_that_takes_long_share_another_one(answers: ResponseCache) -> None:
    begun, let_go, made = Event(), Event(), []

    def slow() -> str:
        begun.set()
        assert let_go.wait(20)
        return "slow"

    def quick() -> str:
        made.append("quick")
        return "quick"

    with ThreadPoolExecutor(21) as threads:
        first = threads.submit(answers.get_or_make, b"?", slow)
        assert begun.wait(20)
        others = [threads.submit(answers.get_or_make, b"?", quick) for _ in range(20)]
        assert {other.result() for other in others} == {"quick"}
        assert len(made) < 5
        let_go.set()
        assert first.result() == "slow"


def test_an_answer_made_meanwhile_is_not_for_who_comes_later(answers: ResponseCache) -> None:
    begun, let_go, numbers = Event(), Event(), count(1)

    def slow() -> str:
        begun.set()
        assert let_go.wait(20)
        return "slow"

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(answers.get_or_make, b"?", slow)
        assert begun.wait(20)
        for number in (1, 2):
            assert answers.get_or_make(b"?", lambda: str(next(numbers))) == str(number)
        let_go.set()
        assert first.result() == "slow"
