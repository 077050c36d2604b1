"""A real browser on a real server. What no page may ever do fails whichever test sees it."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from redis import Redis
from rq.results import Result
from stage import HOSTILE, OpenPage, Watch, server

from helpers import free_port
from launchpad.queue.job import Job
from launchpad.queue.manager import JobManager

INNER = {
    "done": 12_340_000,
    "total": 50_000_000,
    "percent": 24.7,
    "message": HOSTILE,
    "rate": 3_100_000,
    "eta": 3723.4,
    "elapsed": 4.0,
    "unit": "B",
}
PROGRESS = INNER | {"done": 1234, "total": 5000, "rate": 61.7, "unit": "line", "inner": [INNER]}
USAGE = {"cpu_seconds": 0.019, "max_memory_bytes": 49_287_168}
TRACEBACK = f"Traceback (most recent call last):\n  File 'jobs.py', line 1\nValueError: {HOSTILE}"

expect.set_options(timeout=15_000)


@pytest.fixture(scope="module")
def files_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of the file store, one for all tests of a file."""
    return str(tmp_path_factory.mktemp("files"))


# Not for longer: it looks for lost jobs once a second, on a Valkey that other tests use, too.
@pytest.fixture(scope="module")
def live_server(valkey: str, files_url: str) -> Iterator[str]:
    """The URL of the real server, one for all tests of a file."""
    with server(free_port(), valkey, FILES_URL=files_url, MAX_UPLOAD_MB="5") as url:
        yield url


@pytest.fixture
def open_page(browser: Browser, live_server: str, redis_url: str) -> Iterator[OpenPage]:
    """Open a path in a window of its own: of the live server, or of the one at `base_url`."""
    watches, contexts = [], []

    def open_page(path: str = "/", **options: Any) -> Page:
        options = {"base_url": live_server, "viewport": {"width": 1280, "height": 800}} | options
        contexts.append(browser.new_context(**options))
        page: Page = contexts[-1].new_page()
        page.set_default_timeout(15_000)
        watches.append(Watch(page))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [watch.complaints for watch in watches if watch.complaints] == []


@pytest.fixture
def all_states(manager: JobManager, redis: Redis) -> dict[str, str]:
    """A job in each state, all of them with hostile text: their ids."""
    return {
        state: job_in(state, manager, redis) for state in ("finished", "failed", "stopped", "canceled", "started")
    } | {"queued": job_in("queued", manager, redis), "scheduled": job_in("scheduled", manager, redis)}


def job_in(state: str, manager: JobManager, redis: Redis) -> str:
    """Make a job that is in a state, without the worker that would bring it there."""
    at = datetime.now(UTC) + timedelta(hours=1) if state == "scheduled" else None
    id: str = manager.launch("count_words", {"text": HOSTILE}, at=at)[0].id
    job = Job.fetch(id, redis)
    if state in ("queued", "scheduled"):
        return id
    manager._queue.remove(job)
    if state != "canceled":
        job.meta = {"attempt": 2, "progress": PROGRESS}
        job.started_at = job.created_at
        job.ended_at = None if state == "started" else job.created_at
        job.save()
    if state == "finished":
        redis.hset(job.key, "usage", json.dumps(USAGE))
        Result.create(job, Result.Type.SUCCESSFUL, 600, return_value={"type": "text", "value": HOSTILE})
    if state in ("failed", "stopped"):
        Result.create_failure(job, 600, TRACEBACK)
    job.set_status(state)
    return id
