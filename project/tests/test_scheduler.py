"""What happens without anybody asking: due jobs, cron, lost jobs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from helpers import PROJECT, WORKER, alive, children, copy_project, process, wait_until
from launchpad.functions.catalog import job
from launchpad.queue import schemas
from launchpad.queue.errors import WrongState
from launchpad.queue.job import Job, queue_of
from launchpad.queue.manager import JobManager
from launchpad.worker.abandoned import SILENCE_SECONDS
from launchpad.worker.application import application
from launchpad.worker.scheduler import CRON, Scheduler

Waiter = subprocess.Popen[bytes]


def launch(manager: JobManager, seconds: int = 60, **options: Any) -> str:
    id: str = manager.launch("wait", {"num_iterations": seconds}, **options)[0].id
    return id


def soon(seconds: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)


def test_a_scheduled_job_waits_for_its_time_and_then_runs(manager: JobManager, worker: Waiter) -> None:
    at = soon(2)
    id = launch(manager, 1, at=at)
    job = manager.get(id)
    assert (job.state, job.scheduled_at, job.position) == ("scheduled", at, None)
    wait_until(lambda: manager.get(id).state == "finished")
    assert manager.get(id).started_at >= at
    assert manager.get(id).scheduled_at is None


@pytest.mark.long
def test_a_scheduled_job_survives_the_workers(manager: JobManager, redis_url: str) -> None:
    id = launch(manager, 1, at=soon(8))
    with process(WORKER, REDIS_URL=redis_url) as first:
        wait_until(lambda: manager.page().workers.total)
        first.kill()
    assert manager.get(id).state in ("scheduled", "queued")
    with process(WORKER, REDIS_URL=redis_url):
        wait_until(lambda: manager.get(id).state == "finished")


def test_a_scheduled_job_is_canceled_and_deleted_like_any_other(manager: JobManager, worker: Waiter) -> None:
    canceled, deleted = launch(manager, at=soon(2)), launch(manager, at=soon(2))
    assert manager.stop(canceled).state == "canceled"
    manager.delete(deleted)
    done = launch(manager, 1, at=soon(3))
    wait_until(lambda: manager.get(done).state == "finished")
    assert manager.get(canceled).state == "canceled"
    assert manager.page().total == 2
    with pytest.raises(WrongState):
        manager.stop(done)


def test_a_time_that_has_passed_means_now(manager: JobManager) -> None:
    assert manager.get(launch(manager, at=soon(-60))).state == "queued"


def test_a_killed_worker_takes_its_scheduler_with_it_and_all_else_that_it_has_started(
    manager: JobManager, worker: Waiter
) -> None:
    started = wait_until(lambda: children(worker.pid))  # its log collector and its template, too
    worker.kill()
    wait_until(lambda: not any(map(alive, started)), 5)
    assert manager.page().workers == schemas.Workers(total=0, busy=0)


def test_a_scheduler_that_is_told_to_end_before_it_is_ready_ends(redis_url: str) -> None:
    code = f"""
import os, signal, redis
from launchpad.worker.scheduler import Scheduler
signal.signal(signal.SIGTERM, lambda *_: print("lost", flush=True))  # a worker's own handler, which it inherits
scheduler = Scheduler(["default"], connection=redis.Redis.from_url({redis_url!r}))
process = scheduler.start()
os.kill(process.pid, signal.SIGTERM)
process.join(10)
ended = process.exitcode
process.kill()
assert ended == 0, ended
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "lost" in done.stdout) == (0, False), done.stderr


def kill_with_its_job(worker: Waiter) -> None:
    """What happens when a machine or a container goes: worker, scheduler, template and job at once."""
    for pid in [worker.pid, *children(worker.pid)]:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.long
def test_a_job_whose_worker_was_lost_fails_within_seconds(manager: JobManager, worker: Waiter, redis_url: str) -> None:
    id = launch(manager)
    wait_until(lambda: manager.get(id).progress)
    kill_with_its_job(worker)
    with process(WORKER, REDIS_URL=redis_url):
        wait_until(lambda: manager.get(id).state == "failed", SILENCE_SECONDS + 6)
    assert manager.get(id).error.cause == "Its worker was lost while it ran."
    assert not manager.redis.exists("rq:launchpad:durations"), "the silence is not how long the function takes"
    assert manager.get(id).ended_at
    assert manager.redis.zcard("rq:wip:default") == 0


@pytest.mark.long
def test_a_job_with_retries_runs_again_when_its_worker_was_lost(
    manager: JobManager, worker: Waiter, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(manager.functions["wait"].__dict__, "retries", 1)
    id = launch(manager)
    wait_until(lambda: manager.get(id).progress)
    kill_with_its_job(worker)
    with process(WORKER, REDIS_URL=redis_url):
        wait_until(lambda: manager.get(id).attempt == 2, SILENCE_SECONDS + 6)
        manager.stop(id)


def test_a_job_that_was_taken_and_never_started_is_found(manager: JobManager, redis: Redis, worker: Waiter) -> None:
    id = launch(manager, at=soon(3600))
    redis.zrem("rq:scheduled:default", id)
    Job.fetch(id, redis).set_status("queued")  # type: ignore[arg-type]
    redis.lpush("rq:queue:default:intermediate", id)
    wait_until(lambda: manager.get(id).state == "failed", SILENCE_SECONDS + 6)
    assert redis.llen("rq:queue:default:intermediate") == 0


@pytest.mark.long
def test_a_worker_that_works_is_never_taken_for_lost(manager: JobManager, worker: Waiter) -> None:
    id = launch(manager, SILENCE_SECONDS + 3)
    wait_until(lambda: manager.get(id).state not in ("queued", "started"), SILENCE_SECONDS + 10)
    assert (manager.get(id).state, manager.get(id).attempt) == ("finished", 1)


@pytest.fixture
def scheduler(redis: Redis) -> Iterator[Callable[[], None]]:
    """One look around of a real scheduler, in this process."""
    scheduler = Scheduler([queue_of(redis)], connection=redis, serializer="json")
    scheduler.acquire_locks()
    yield scheduler.enqueue_scheduled_jobs
    scheduler.release_locks()


@pytest.fixture
def yearly(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Put a function with this schedule into the catalog."""
    import jobs

    def put(cron: str) -> None:
        def report(pages: int = 3) -> int:
            return pages

        report.__module__ = "jobs"
        monkeypatch.setattr(jobs, "report", job(cron=cron)(report), raising=False)
        application.cache_clear()  # so it is made again, with this function

    yield put
    application.cache_clear()


def test_cron_keeps_the_next_launch_scheduled_once(
    manager: JobManager, redis: Redis, scheduler: Callable[[], None], yearly: Callable[[str], None]
) -> None:
    yearly("0 3 1 1 *")
    scheduler(), scheduler()
    other = Scheduler([queue_of(redis)], connection=redis, serializer="json")
    other._acquired_locks = {"default"}  # two at once, as for a moment after a lock was lost
    other.enqueue_scheduled_jobs()
    [job] = manager.page().jobs
    assert (job.state, job.function, job.arguments) == ("scheduled", "report", {"pages": 3})
    assert job.scheduled_at.isoformat().startswith(f"{datetime.now().year + 1}-01-0")

    manager.delete(job.id)
    scheduler()
    assert manager.page().total == 0, "a launch that somebody deleted does not come back"

    yearly("0 4 1 1 *")
    scheduler()
    assert manager.page().total == 1, "but a changed schedule counts"
    yearly("0 5 1 1 *")
    scheduler()
    assert manager.page().total == 1, "and takes the place of the old one"


def test_a_cron_job_that_was_due_while_everything_was_down_runs_once(
    manager: JobManager, redis: Redis, scheduler: Callable[[], None], yearly: Callable[[str], None]
) -> None:
    yearly("0 3 1 1 *")
    scheduler()
    [job] = manager.page().jobs
    redis.zadd("rq:scheduled:default", {job.id: time.time() - 3600})
    redis.hset(CRON, "report", int(time.time() - 3600))
    scheduler(), scheduler()
    assert sorted(job.state for job in manager.page().jobs) == ["queued"]


@pytest.mark.long  # it waits for a full minute
def test_two_workers_run_a_cron_job_once_each_time(redis_url: str, manager: JobManager, tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    (project / "jobs.py").write_text(
        "from datetime import datetime\n"
        "from launchpad.functions.catalog import job\n\n"
        '@job(cron="* * * * *")\n'
        "def tick() -> str:\n    return datetime.now().isoformat()\n"
    )
    seconds = 61 - datetime.now().second
    with process(WORKER, cwd=project, REDIS_URL=redis_url), process(WORKER, cwd=project, REDIS_URL=redis_url):
        wait_until(lambda: manager.page().counts["finished"], seconds + 10)
        counts = manager.page().counts
        assert (counts["finished"], counts["scheduled"]) == (1, 1)


@pytest.mark.parametrize("cron", ["", "* * * *", "61 * * * *", "* * * * * *", "@daily", "soon"])
def test_a_schedule_that_cannot_be_followed_stops_the_start(cron: str) -> None:
    if cron:
        with pytest.raises(TypeError, match="is not a schedule"):
            job(cron=cron)(lambda: None)
    with pytest.raises(TypeError, match="needs a default"):
        job(cron="0 3 * * *")(_needs_an_argument)


def _needs_an_argument(pages: int) -> None: ...
