"""A worker is killed in the worst moments, or sleeps through them."""

import os
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest
from scene import TRUTH, Scene, Worker, each_kind, kill
from test_server import Server

from helpers import wait_until
from launchpad.worker.abandoned import AbandonedJobs

TAKEN, STARTED = "rq:queue:default:intermediate", "rq:wip:default"
pytestmark = [each_kind, pytest.mark.long]


def stop_between_taking_and_starting(scene: Scene, worker: Worker, function: str) -> str:
    """Let a worker take jobs until it stands still with one that it has taken and not started."""
    for _ in range(200):
        id = scene.launch(function)
        while not (taken := scene.redis.lrange(TAKEN, 0, -1)) and scene.state(id) == "queued":
            pass
        os.kill(worker.pid, signal.SIGSTOP)
        if taken and scene.redis.lrange(TAKEN, 0, -1) and not scene.redis.zcard(STARTED):
            return id
        os.kill(worker.pid, signal.SIGCONT)
        scene.wait_for(id)
    raise AssertionError("it was never caught")


@pytest.mark.parametrize("function", ["rest", "rest_again"])
def test_a_job_that_a_killed_worker_had_taken_and_not_started_is_found(
    scene: Scene, worker: Worker, function: str
) -> None:
    id = stop_between_taking_and_starting(scene, worker, function)
    killed = time.time()
    kill(worker)
    scene.start_worker()
    if function == "rest":
        assert scene.wait_for(id, "failed", TRUTH).error.cause == "Its worker was lost before it started."
        assert scene.runs(id) == []
    else:
        scene.wait_for(id, "finished", TRUTH)
        assert len(scene.runs(id)) == 1
    assert time.time() - killed < TRUTH


def test_a_worker_that_awakes_does_not_start_what_was_given_up(scene: Scene, worker: Worker) -> None:
    id = stop_between_taking_and_starting(scene, worker, "rest")
    other = scene.start_worker()
    scene.wait_for(id, "failed", TRUTH)
    kill(other)
    wait_until(lambda: not scene.redis.info("clients")["blocked_clients"])  # or Redis may give it the next job
    os.kill(worker.pid, signal.SIGCONT)
    scene.wait_for(scene.launch("rest"))
    assert (scene.state(id), scene.runs(id)) == ("failed", [])
    scene.check([id])


def test_a_worker_killed_in_maintenance_leaves_a_lock_that_hides_no_lost_job(scene: Scene, worker: Worker) -> None:
    id = scene.launch("rest", seconds=60)
    wait_until(lambda: scene.runs(id))
    scene.redis.set("rq:clean_registries:default", 1, ex=899)  # as RQ does before it cleans
    kill(worker)
    scene.start_worker()
    assert scene.wait_for(id, "failed", TRUTH).error.cause == "Its worker was lost while it ran."
    assert scene.redis.ttl("rq:clean_registries:default") > 800


def test_scheduled_jobs_do_not_wait_for_the_lock_of_a_killed_scheduler(scene: Scene, worker: Worker) -> None:
    wait_until(lambda: scene.redis.get("rq:scheduler-lock:default"))
    kill(worker)
    at = datetime.now(UTC) + timedelta(seconds=1)
    id = scene.manager.launch("rest", {"seconds": 0}, at=at)[0].id
    scene.start_worker()
    wait_until(lambda: scene.runs(id), TRUTH)
    assert scene.runs(id)[0].began - at.timestamp() < TRUTH
    scene.wait_for(id)


def test_the_server_finds_what_the_only_worker_has_left(scene: Scene, worker: Worker) -> None:
    Server(scene)
    id = scene.launch("rest", seconds=60)
    wait_until(lambda: scene.runs(id))
    kill(worker)
    assert scene.wait_for(id, "failed", TRUTH).error.cause == "Its worker was lost while it ran."
    again = scene.launch("rest_again", seconds=60)
    worker = scene.start_worker()
    wait_until(lambda: scene.runs(again))
    kill(worker)
    wait_until(lambda: scene.state(again) == "queued", TRUTH)


def test_a_job_whose_end_a_crashed_redis_has_forgotten_is_found(scene: Scene, worker: Worker) -> None:
    id = scene.launch("rest", seconds=1)
    wait_until(lambda: scene.runs(id))
    [[key, score]] = wait_until(lambda: scene.redis.zrange(STARTED, 0, -1, withscores=True))
    before = {name: scene.redis.dump(name) for name in (f"rq:job:{id}", f"rq:execution:{key.decode()}")}
    scene.wait_for(id)
    for name, value in before.items():
        scene.redis.restore(name, 0, value, replace=True)
    scene.redis.zadd(STARTED, {key: score})
    scene.redis.zrem("rq:finished:default", id)
    assert scene.state(id) == "started"
    scene.wait_for(id, "failed", TRUTH)
    scene.wait_for(scene.launch("rest"))


def given_up(scene: Scene, id: str) -> str:
    """Give up a job that runs, as if the worker's network had been cut; answers what was given up."""
    [key] = wait_until(lambda: scene.redis.zrange(STARTED, 0, -1))
    AbandonedJobs(scene.redis).give_up(key.decode())
    assert scene.state(id) in ("failed", "queued")
    return str(key.decode())


def test_a_run_that_was_given_up_writes_nothing_more(scene: Scene, worker: Worker) -> None:
    id = scene.launch("rest", seconds=2)
    wait_until(lambda: scene.runs(id))
    given_up(scene, id)
    scene.wait_for(scene.launch("rest"))
    assert scene.state(id) == "failed"
    scene.check([id])


def test_what_was_given_up_and_runs_again_is_not_given_up_by_another_one_too(scene: Scene, worker: Worker) -> None:
    id = scene.launch("rest_again", seconds=2)
    wait_until(lambda: scene.runs(id))
    key = given_up(scene, id)
    wait_until(lambda: len(scene.runs(id)) == 2)
    AbandonedJobs(scene.redis).give_up(key)
    assert scene.wait_for(id).attempt == 2
