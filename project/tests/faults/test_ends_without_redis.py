"""Redis is away, or frozen, when a job is to end before its time."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from scene import TRUTH, Scene, Worker

from helpers import alive, wait_until
from launchpad.worker.ending import ABORT_SECONDS

LIMIT, GRACE, STOP = 3, 1.5, 2  # seconds; the limit is that of the functions
pytestmark = [pytest.mark.long, pytest.mark.parametrize("how", ["killed", "frozen"])]


@pytest.fixture
def worker(scene: Scene) -> Worker:
    return scene.start_worker(GRACE_SECONDS=str(GRACE), STOP_SECONDS=str(STOP))


@contextmanager
def without_redis(scene: Scene, how: str) -> Iterator[None]:
    pid = scene.redis.info("server")["process_id"]
    scene.valkey.terminate() if how == "killed" else os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        scene.valkey.start() if how == "killed" else os.kill(pid, signal.SIGCONT)


def begin(scene: Scene, function: str, until: str) -> tuple[str, int, float]:
    """Launch a job; answer its id, its process, and when it began."""
    id = scene.launch(function, until=until)
    [run] = wait_until(lambda: scene.runs(id))
    return id, run.pid, run.began


JOBS = pytest.mark.parametrize(
    ("function", "until", "is_kind"),
    [
        ("clean_up", "it has cleaned up", True),
        ("clean_up", "it is killed", False),
        ("work", "never", False),  # it may want to tell its progress
    ],
)


@JOBS
def test_a_job_has_its_limit_while_redis_is_away(
    scene: Scene, worker: Worker, how: str, function: str, until: str, is_kind: bool
) -> None:
    name = {"clean_up": "clean_up_after_its_limit", "work": "work_to_its_limit"}[function]
    id, pid, began = begin(scene, name, until)
    with without_redis(scene, how):
        wait_until(lambda: not alive(pid), LIMIT + STOP + ABORT_SECONDS + 3)
        lasted = time.time() - began
    assert LIMIT - 0.1 < lasted < LIMIT + (0 if is_kind else STOP + ABORT_SECONDS) + 2
    assert scene.wait_for(id, "failed", TRUTH).error.cause == "It took longer than its limit of 3 seconds."
    scene.wait_for(scene.launch("rest"))
    assert worker.poll() is None


@JOBS
def test_a_worker_that_is_told_to_end_ends_its_job_in_time_while_redis_is_away(
    scene: Scene, worker: Worker, how: str, function: str, until: str, is_kind: bool
) -> None:
    id, pid, _ = begin(scene, function, until)
    with without_redis(scene, how):
        told = time.time()
        worker.terminate()
        wait_until(lambda: not alive(pid), GRACE + STOP + 3)
        lasted = time.time() - told
    assert GRACE - 0.1 < lasted < GRACE + (0 if is_kind else STOP) + 2
    assert scene.wait_for(id, "failed", TRUTH).error.cause == "Its worker was shut down while it ran."
    worker.wait(10)


def test_what_has_ended_while_redis_was_away_is_told_when_it_is_back(scene: Scene, worker: Worker, how: str) -> None:
    id = scene.launch("rest", seconds=1)
    [run] = wait_until(lambda: scene.runs(id))
    with without_redis(scene, how):
        worker.terminate()
        wait_until(lambda: time.time() > run.began + GRACE + STOP)
    assert scene.wait_for(id, seconds=TRUTH).result.value == "rested"
    worker.wait(10)
