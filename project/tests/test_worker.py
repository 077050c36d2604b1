"""A worker that is told to end, or to stop a job, at the worst moment; and how it starts."""

import subprocess
from pathlib import Path

import pytest
from redis import Redis
from rq.command import send_stop_job_command

import test_warm
from helpers import APP, BIN, WORKER, environ_in, functions_of, is_listening, process, wait_until, worker_of
from launchpad.queue.manager import JobManager

# What happens between taking a job and running it: in the worker, in its template, and in the process of the job.
IN_WORKER = [
    "job_maker.JobMaker.restore",
    "worker.Worker.execute_job",
    "supervisor.Supervisor.prepare",
    "supervisor.Supervisor.run",
    "supervisor.Supervisor._take_process",
    "template.Template.send",
    "template.Template.receive",
    "template.Process.hand",
]
IN_TEMPLATE = ["forker._load", "forker._Forker._fork", "forker.send_handle"]
IN_PROCESS = ["job_process.set_up", "job_process.JobProcess.serve", "job_process.run"]
IN_WARM_PROCESS = ["job_process.set_up", "warm.WarmProcess.serve", "warm.run"]
QUICK = ("supervisor.Supervisor.run", "job_process.run")
STEPS = [
    pytest.param(step, function, marks=[] if step in QUICK else pytest.mark.long)
    for function, steps in (("rest", (*IN_WORKER, *IN_TEMPLATE, *IN_PROCESS)), ("rest_warm", IN_WARM_PROCESS))
    for step in steps
]


manager = test_warm.manager


@pytest.mark.parametrize(("step", "function"), STEPS)
def test_a_worker_that_is_told_to_end_before_a_job_has_begun_ends_it_in_time(
    manager: JobManager, redis_url: str, files_url: str, tmp_path: Path, step: str, function: str
) -> None:
    id = manager.launch(function, {"seconds": 60})[0].id
    environ = {"REDIS_URL": redis_url, "FILES_URL": files_url, "LATE_STEP": step, "GRACE_SECONDS": "2"}
    with process(worker_of("late.Worker"), **environ, **functions_of("rovers", tmp_path)) as worker:
        wait_until((tmp_path / "late").exists)
        wait_until(lambda: manager.get(id).state == "started")
        worker.terminate()
        worker.wait(10)
    assert manager.get(id).state == "failed"
    assert manager.get(id).error.cause == "Its worker was shut down while it ran."


def test_a_worker_that_is_told_to_end_while_it_logs_ends(redis_url: str, tmp_path: Path) -> None:
    environ = {"REDIS_URL": redis_url, "LATE_STEP": "worker.Worker.check_for_suspension"}
    with process(worker_of("late.Worker"), **environ, **functions_of("rovers", tmp_path)) as worker:
        wait_until((tmp_path / "late").exists)
        worker.terminate()
        worker.wait(10)


def test_a_worker_that_is_told_to_end_while_the_functions_are_loaded_for_ever_ends(
    redis_url: str, tmp_path: Path
) -> None:
    options = functions_of("rovers", tmp_path)
    loading = "\nimport pathlib, time\npathlib.Path('loading').touch()\ntime.sleep(600)\n"
    (tmp_path / "jobs.py").write_text((tmp_path / "jobs.py").read_text() + loading)
    with process(WORKER, REDIS_URL=redis_url, **options) as worker:
        wait_until((tmp_path / "loading").exists)
        worker.terminate()
        worker.wait(10)


@pytest.mark.parametrize(("step", "function"), STEPS[::2])
def test_a_stop_that_comes_before_a_job_has_begun_is_not_lost(
    manager: JobManager, redis_url: str, files_url: str, tmp_path: Path, step: str, function: str
) -> None:
    id = manager.launch(function, {"seconds": 60})[0].id
    environ = {"REDIS_URL": redis_url, "FILES_URL": files_url, "LATE_STEP": step}
    with process(worker_of("late.Worker"), **environ, **functions_of("rovers", tmp_path)):
        wait_until((tmp_path / "late").exists)
        wait_until(lambda: manager.get(id).state == "started")
        send_stop_job_command(manager.redis, id, "json")
        wait_until(lambda: manager.get(id).state == "stopped")


@pytest.mark.parametrize(
    ("name", "value"), [("REDIS_URL", "http://localhost"), ("STOP_SECONDS", "soon"), ("GRACE_SECONDS", "-1")]
)
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
