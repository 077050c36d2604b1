"""The manager and its index: the list is exact, whatever happens to the jobs and however many there are."""

import os
import random
import re
import signal
import subprocess
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from rq.job import JobStatus
from rq.timeouts import JobTimeoutException

from helpers import horses, wait_until
from launchpad.queue import schemas
from launchpad.queue.errors import JobNotFound, QueueFull, WrongState
from launchpad.queue.job import Job
from launchpad.queue.manager import JobManager
from launchpad.queue.serialize import error_of
from launchpad.queue.states import STATES
from launchpad.settings import Settings
from server import create_app

Waiter = subprocess.Popen[bytes]


def launch(manager: JobManager, seconds: int = 60, key: str | None = None) -> str:
    id: str = manager.launch("wait", {"num_iterations": seconds}, key)[0].id
    return id


def state(manager: JobManager, id: str) -> str:
    return str(manager.get(id).state)


def started(manager: JobManager) -> str:
    """Launch a job and wait until it has made progress."""
    id = launch(manager)
    wait_until(lambda: manager.get(id).progress)
    return id


def job_keys(redis: Redis) -> list[bytes]:
    """The keys that jobs have, in RQ and in the index."""
    return [key for key in redis.scan_iter() if b"job" in key or b"launchpad" in key or b"result" in key]


def test_a_launch_a_look_at_a_job_and_a_page_cost_one_round_trip_each(
    manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch(manager), manager.page(), manager.many([])  # a Redis that has just started is sent the scripts
    manager._answered = 0.0
    trips: list[str] = []
    original = Redis.execute_command
    pipeline = type(manager.redis.pipeline())
    execute = pipeline.execute
    monkeypatch.setattr(Redis, "execute_command", lambda s, *a, **k: trips.append(a[0]) or original(s, *a, **k))
    monkeypatch.setattr(pipeline, "execute", lambda s, *a, **k: trips.append("pipeline") or execute(s, *a, **k))
    launch(manager)
    assert trips == ["PING", "EVALSHA"], "the first one for a while asks whether Redis is there"
    trips.clear()
    for number in (1, 50):
        ids = [launch(manager) for _ in range(number)]
        assert trips == ["EVALSHA"] * number
        trips.clear()
        assert manager.get(ids[0]).state == "queued"
        assert len(manager.many(ids).jobs) == number
        assert len(manager.page(per_page=100).jobs) >= number
        assert trips == ["EVALSHA"] * 3
        trips.clear()


def test_jobs_that_expired_leave_the_list_and_the_counts(
    manager: JobManager, redis: Redis, work: Callable[[], None]
) -> None:
    ids = [launch(manager, 1) for _ in range(3)]
    work()
    assert manager.page(state="finished").total == 3
    redis.pexpire(Job.key_for(ids[0]), 1)  # its time to live is over
    redis.delete(Job.key_for(ids[1]))  # somebody deleted it by hand
    wait_until(lambda: not redis.exists(Job.key_for(ids[0])))
    for listing in (manager.page(state="finished"), manager.page(function="wait"), manager.page()):
        assert [job.id for job in listing.jobs] == [ids[2]]
        assert listing.total == listing.counts["finished"] == 1


def test_a_job_expires_from_the_index_at_the_time_it_says(
    manager: JobManager, redis: Redis, work: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    function = manager.functions["wait"]
    monkeypatch.setitem(function.__dict__, "result_ttl", 1)
    id = launch(manager, 1)
    work()
    wait_until(lambda: not redis.exists(Job.key_for(id)), 5)
    assert manager.page().counts["finished"] == 0
    assert redis.keys("rq:launchpad:*") == [b"rq:launchpad:durations"]


def test_a_queue_that_is_full_refuses_and_loses_nothing(settings: Settings) -> None:
    manager: JobManager = create_app(settings.model_copy(update={"max_queued_jobs": 2})).extensions["launchpad"].manager
    launch(manager), launch(manager)
    with pytest.raises(QueueFull):
        launch(manager)
    assert manager.page().total == 2
    manager.redis.close()


def test_twenty_launches_with_one_key_at_once_give_one_job(manager: JobManager) -> None:
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(launch(manager, key="once"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 20
    assert len(set(ids)) == 1
    assert manager.redis.llen("rq:queue:default") == manager.page().total == 1


def test_a_job_that_waits_is_canceled_at_once(manager: JobManager) -> None:
    id = launch(manager)
    assert manager.stop(id).state == "canceled"
    assert manager.redis.llen("rq:queue:default") == 0
    with pytest.raises(WrongState):
        manager.stop(id)


def test_a_stopped_job_leaves_no_child_process_and_can_be_retried(manager: JobManager, worker: Waiter) -> None:
    id = started(manager)
    horse, *_ = horses(worker)  # the others wait for the next job
    manager.stop(id)
    wait_until(lambda: state(manager, id) == "stopped", 5)  # on a busy machine it takes longer than `stop` waits
    assert not os.path.exists(f"/proc/{horse}")
    assert manager.get(id).error.cause == "It was stopped."

    assert manager.retry(id).state in ("queued", "started")
    wait_until(lambda: manager.get(id).attempt == 2)
    assert (manager.get(id).error, manager.get(id).expires_at) == (None, None)
    with pytest.raises(WrongState):
        manager.retry(id)
    manager.stop(id)


def test_a_running_job_is_stopped_before_it_is_deleted(manager: JobManager, redis: Redis, worker: Waiter) -> None:
    id = started(manager)
    horse, *_ = horses(worker)  # the others wait for the next job
    manager.delete(id)
    assert not os.path.exists(f"/proc/{horse}")
    assert job_keys(redis) == []
    again = started(manager)
    assert [job.id for job in manager.page().jobs] == [again]
    manager.delete(again)


@pytest.mark.long
def test_jobs_stopped_and_deleted_at_any_moment_end_true_and_leave_nothing(
    manager: JobManager, redis: Redis, worker: Waiter
) -> None:
    chance = random.Random(7)
    ids = [launch(manager, 1) for _ in range(50)]
    doomed, stopped = ids[::4], ids[1::2]

    def act(action: Callable[[str], Any], id: str) -> None:
        threading.Event().wait(chance.uniform(0, 12))
        with suppress(WrongState):
            action(id)

    threads = [threading.Thread(target=act, args=(manager.delete, id)) for id in doomed]
    threads += [threading.Thread(target=act, args=(manager.stop, id)) for id in stopped]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: all(job.state not in ("queued", "started") for job in manager.page(per_page=100).jobs), 60)

    listing = manager.page(per_page=100)
    assert {job.id for job in listing.jobs} == set(ids) - set(doomed)
    for job in listing.jobs:
        assert job.state in (("stopped", "canceled", "finished") if job.id in stopped else ("finished",))
    assert sum(listing.counts.values()) == listing.total == len(ids) - len(doomed)
    for id in doomed:
        assert not list(redis.scan_iter(f"*{id}*"))
    assert redis.zcard("rq:canceled:default") == listing.counts["canceled"]


def test_two_people_who_delete_at_once_are_both_right(manager: JobManager, worker: Waiter) -> None:
    id = started(manager)
    errors: list[Exception] = []

    def delete() -> None:
        try:
            manager.delete(id)
        except JobNotFound as error:
            errors.append(error)

    threads = [threading.Thread(target=delete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) < 4
    assert manager.page().total == 0


def test_a_job_whose_process_is_killed_fails_with_a_sentence(manager: JobManager, worker: Waiter) -> None:
    id = started(manager)
    os.kill(horses(worker)[0], signal.SIGKILL)
    wait_until(lambda: state(manager, id) == "failed", 5)
    cause = manager.get(id).error.cause
    assert re.fullmatch(r"Its process was killed, and not for want of memory; it had \d+\.\d MB\.", cause)


def test_a_worker_that_is_told_to_end_leaves_no_job_running(manager: JobManager, worker: Waiter) -> None:
    id = started(manager)
    worker.terminate()
    worker.wait(15)
    assert state(manager, id) == "failed"
    assert manager.get(id).error.cause == "Its worker was shut down while it ran."


def test_the_counts_are_those_of_rq_in_every_state(manager: JobManager, redis: Redis) -> None:
    for status in STATES:
        job = Job.fetch(launch(manager), redis)
        job.set_status(JobStatus(status))
    assert set(manager.page().counts.values()) == {1}


def cause_of(error: BaseException) -> str:
    try:
        raise error from KeyError("before")
    except BaseException:
        return error_of(traceback.format_exc()).cause


def test_a_failure_is_told_in_one_line() -> None:
    timeout = JobTimeoutException("Task exceeded maximum timeout value (90 seconds)")
    assert cause_of(timeout) == "It took longer than its limit of 90 seconds."
    assert cause_of(ValueError("one two\nmore\n  lines: 3")) == "ValueError: one two"
    assert cause_of(ZeroDivisionError()) == "ZeroDivisionError"
    after_a_stop = (
        "Job stopped by user, work-horse terminated.\n\nTraceback (most recent call last):\nMemoryError: in finally"
    )
    assert error_of(after_a_stop).cause == "It was stopped."
    assert error_of("") == schemas.JobError(cause="It failed.", traceback="")


def test_each_attempt_is_counted_and_shown(
    app: Flask, manager: JobManager, work: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(manager.functions["wait"].__dict__, "retries", 2)
    monkeypatch.setitem(manager.functions["wait"].__dict__, "module", "no_such_module")
    id = launch(manager)
    work()
    job = manager.get(id)
    assert (job.state, job.attempt) == ("failed", 3)
    assert job.error.cause == "LookupError: no_such_module.py has no function wait with @job (any more)"
    attempts = manager.attempts(id)
    assert [attempt.cause for attempt in attempts] == [job.error.cause] * 3
    times = [time for attempt in attempts for time in (attempt.started_at, attempt.ended_at)]
    assert times == sorted(times)
    manager.retry(id)
    work()
    assert len(manager.attempts(id)) == manager.get(id).attempt == 6
    page = app.test_client().get(f"/jobs/{id}").text
    for number in range(1, 6):
        assert f"Attempt {number} started" in page
        assert f"Attempt {number} failed" in page
    assert "Attempt 6 started" in page


def test_what_fails_sometimes_shows_its_attempts(manager: JobManager, work: Callable[[], None]) -> None:
    lucky, unlucky = (manager.launch("flaky", {"chance": chance})[0].id for chance in (0.0, 1.0))
    work()
    assert (manager.get(lucky).state, manager.get(lucky).attempt) == ("finished", 1)
    job = manager.get(unlucky)
    assert (job.state, job.attempt) == ("failed", 4)
    assert job.error.cause == "ConnectionError: Bad luck: the other side did not answer."
