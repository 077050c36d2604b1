"""Both workers, when they are told to end at the worst moment."""

import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask
from redis import Redis
from rq.command import send_stop_job_command

import rovers
from helpers import APP, BIN, PROJECT, WORKER, environ_in, functions_of, is_listening, process, wait_until, worker_of
from launchpad.functions.catalog import collect
from launchpad.queue.manager import JobManager
from launchpad.settings import Settings

STEPS = {
    "Worker": ["_job", "_hand", "fork_work_horse", "main_work_horse", "setup_work_horse_signals", "perform_job"],
    "ForkingWorker": ["fork_work_horse", "main_work_horse", "setup_work_horse_signals", "perform_job"],
}


@pytest.mark.parametrize(("kind", "step"), [(kind, step) for kind, steps in STEPS.items() for step in steps])
def test_a_worker_that_is_told_to_end_before_a_job_has_begun_ends_it_in_time(
    app: Flask, settings: Settings, redis_url: str, files_url: str, tmp_path: Path, kind: str, step: str
) -> None:
    manager = JobManager(settings, collect(rovers))
    if step == "_hand":  # which takes a process that has run a job
        manager.launch("where", {})
    id = manager.launch("rest", {"seconds": 60})[0].id
    options = functions_of("rovers", tmp_path)
    with process(
        worker_of(f"late.{kind}"), REDIS_URL=redis_url, FILES_URL=files_url, LATE_STEP=step, **options
    ) as worker:
        wait_until((tmp_path / "late").exists)
        worker.terminate()
        worker.wait(10)
    assert manager.get(id).state == "failed"
    assert manager.get(id).error.cause == "Its worker was shut down while it ran."
    manager.redis.close()


@pytest.mark.parametrize("kind", STEPS)
def test_a_worker_that_is_told_to_end_while_it_logs_ends(redis_url: str, tmp_path: Path, kind: str) -> None:
    options = functions_of("rovers", tmp_path)
    step = "check_for_suspension"
    with process(worker_of(f"late.{kind}"), REDIS_URL=redis_url, LATE_STEP=step, **options) as worker:
        wait_until((tmp_path / "late").exists)
        worker.terminate()
        worker.wait(10)


@pytest.mark.parametrize("step", STEPS["Worker"])
def test_a_stop_that_comes_before_a_job_has_begun_is_not_lost(
    app: Flask, settings: Settings, redis_url: str, files_url: str, tmp_path: Path, step: str
) -> None:
    manager = JobManager(settings, collect(rovers))
    if step == "_hand":
        manager.launch("where", {})
    id = manager.launch("rest", {"seconds": 60})[0].id
    options = functions_of("rovers", tmp_path)
    with process(worker_of("late.Worker"), REDIS_URL=redis_url, FILES_URL=files_url, LATE_STEP=step, **options):
        wait_until((tmp_path / "late").exists)
        send_stop_job_command(manager.redis, id, "json")
        wait_until(lambda: manager.get(id).state == "stopped")
    manager.redis.close()


def test_where_a_process_cannot_be_watched_each_job_is_forked() -> None:
    code = """
import os
del os.pidfd_open
from worker import Worker
from launchpad.worker.worker import ForkingWorker
assert type(Worker([], prepare_for_work=False)) is ForkingWorker
"""
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)


@pytest.mark.parametrize(("name", "value"), [("REDIS_URL", "http://localhost"), ("RELOAD_JOBS", "maybe")])
def test_a_wrong_setting_stops_the_start_of_a_worker_with_one_line_that_names_it(name: str, value: str) -> None:
    environ = environ_in(APP) | {name: value, "PYTHONWARNINGS": "ignore"}
    command = [str(BIN / WORKER[0]), *WORKER[1:]]
    done = subprocess.run(command, cwd=APP, env=environ, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert name in done.stderr


def test_the_command_needs_no_options(redis_url: str, files_url: str, redis: Redis) -> None:
    with process(WORKER, REDIS_URL=redis_url, FILES_URL=files_url):
        wait_until(lambda: is_listening(redis))
        wait_until(lambda: redis.exists("rq:scheduler-lock:default"))
        [key] = redis.smembers("rq:workers:default")
        assert 60 < redis.ttl(key) <= 90, "30 seconds, and RQ's 60"
