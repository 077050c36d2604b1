"""The processes of jobs: a fresh one for each, or one that is kept for its function; and RQ's own ways beside them."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from rq.command import send_kill_horse_command, send_stop_job_command
from rq.suspension import resume, suspend

import rovers
from helpers import BIN, WORKER, alive, functions_of, horses, is_listening, process, wait_until
from launchpad.functions.catalog import collect
from launchpad.queue import schemas
from launchpad.queue.manager import JobManager
from launchpad.settings import Settings
from launchpad.worker.worker import DUE_SECONDS, START_JOB

Waiter = subprocess.Popen[bytes]


@pytest.fixture
def manager(app: Flask, settings: Settings) -> Iterator[JobManager]:
    manager = JobManager(settings, collect(rovers))
    yield manager
    manager.redis.close()


@pytest.fixture
def worker(redis_url: str, files_url: str, redis: Redis, tmp_path: Path) -> Iterator[Waiter]:
    options = functions_of("rovers", tmp_path)
    with process(WORKER, REDIS_URL=redis_url, FILES_URL=files_url, GRACE_SECONDS="1", **options) as child:
        wait_until(lambda: is_listening(redis))
        yield child


def run(manager: JobManager, function: str, **arguments: Any) -> schemas.Job:
    """Launch a function and wait for its end."""
    id = manager.launch(function, arguments)[0].id
    return wait_until(lambda: (job := manager.get(id)).ended_at and job)


def value(manager: JobManager, function: str, **arguments: Any) -> Any:
    """The result of a function that is to finish."""
    job = run(manager, function, **arguments)
    assert job.state == "finished", job.error
    return job.result.value


def lines(manager: JobManager, id: str) -> list[str]:
    wait_until(lambda: manager.log(id, 0).complete)
    return [line.text for line in manager.log(id, 0).lines]


# -- a fresh process


def test_each_job_has_a_fresh_process_of_which_nothing_is_left(manager: JobManager, worker: Waiter) -> None:
    pids = [value(manager, "where") for _ in range(5)]
    assert len({*pids, worker.pid}) == 6
    assert not any(map(alive, pids))
    [waiting] = wait_until(lambda: horses(worker))
    assert waiting not in pids, "it is the one for the next job"
    assert value(manager, "where") == waiting


@pytest.mark.parametrize("function", ["say", "say_warm"])
def test_what_one_job_says_is_not_in_the_log_of_the_next(manager: JobManager, worker: Waiter, function: str) -> None:
    for word in ("one", "two"):
        job = run(manager, function, word=word)
        assert lines(manager, job.id) == [word]
        assert job.progress.message == word
    assert run(manager, "where").progress is None


def test_a_job_that_is_deleted_when_it_was_just_handed_over_does_not_run(manager: JobManager, worker: Waiter) -> None:
    held = value(manager, "where_warm")
    os.kill(held, signal.SIGSTOP)
    id = manager.launch("where_warm", {})[0].id
    wait_until(lambda: manager.get(id).state == "started")
    manager.delete(id)
    assert value(manager, "where_warm") != held
    assert not list(manager.redis.scan_iter(f"*{id}*"))


# -- a process that is kept


def test_a_warm_function_has_a_process_of_its_own_which_keeps_what_its_module_holds(
    manager: JobManager, worker: Waiter
) -> None:
    pids = {value(manager, "where_warm") for _ in range(3)}
    assert len(pids) == 1
    assert [value(manager, "count_warm") for _ in range(3)] == [1, 2, 3]
    assert value(manager, "where") not in pids
    assert {value(manager, "where_warm")} == pids, "what others run meanwhile changes nothing"
    wait_until(lambda: len(horses(worker)) == 3)  # one for each warm function that has run, and a fresh one that waits


DOUBTS = {
    "raise_an_error": "failed",
    "crash": "failed",
    "leave": "failed",
    "leave_silently": "failed",
    "take_all_memory": "failed",
    "take_too_long": "failed",
    "grow": "finished",
    "leave_a_thread": "finished",
    "leave_a_daemon_thread": "finished",
    "leave_a_child": "finished",
    "close_stdout": "finished",
    "close_descriptor_2": "finished",
    "replace_stderr": "finished",
    "change_the_folder": "finished",
}


@pytest.mark.parametrize("how", [*DOUBTS, pytest.param("close_all_files")])
def test_after_what_leaves_a_doubt_the_next_run_has_a_new_process(
    manager: JobManager, worker: Waiter, how: str
) -> None:
    before = value(manager, "doubtful", how="nothing")
    job = run(manager, "doubtful", how=how)
    assert job.state == DOUBTS.get(how, job.state), job.error
    assert job.state == "failed" or job.result.value == before, "it was the one that is kept"
    next_job = run(manager, "doubtful", how="nothing")
    assert next_job.result.value != before
    assert lines(manager, next_job.id) == []
    assert not alive(before)
    assert value(manager, "doubtful", how="nothing") == next_job.result.value


def test_after_a_stop_the_next_run_has_a_new_process(manager: JobManager, worker: Waiter) -> None:
    before = value(manager, "rest_warm", seconds=0)
    id = manager.launch("rest_warm", {"seconds": 60})[0].id
    wait_until(lambda: manager.get(id).state == "started")
    manager.stop(id)
    wait_until(lambda: manager.get(id).state == "stopped")
    assert not alive(before)
    assert value(manager, "rest_warm", seconds=0) != before


def test_a_process_that_has_run_enough_jobs_is_replaced_between_two_of_them(
    manager: JobManager, worker: Waiter
) -> None:
    ids = [manager.launch("count_warm", {})[0].id for _ in range(25)]  # at once: none is handed to one that ends
    wait_until(lambda: manager.page().counts["finished"] == 25)
    counts = [manager.get(id).result.value for id in ids]
    assert counts == [*range(1, 11), *range(1, 11), *range(1, 6)]


def test_a_process_that_was_killed_between_two_jobs_is_replaced(manager: JobManager, worker: Waiter) -> None:
    before = value(manager, "where_warm")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: not alive(before))
    assert value(manager, "where_warm") != before


def test_a_source_file_that_changes_replaces_all_processes(manager: JobManager, worker: Waiter, tmp_path: Path) -> None:
    before = value(manager, "where_warm")
    with (tmp_path / "jobs.py").open("a") as file:
        file.write("# changed\n")
    assert value(manager, "where_warm") != before
    assert not alive(before)


# -- RQ's own ways


@pytest.mark.parametrize("function", ["rest", "rest_warm"])
def test_a_stop_that_comes_too_late_does_not_hit_the_next_job(
    manager: JobManager, worker: Waiter, redis: Redis, function: str
) -> None:
    first = manager.launch(function, {"seconds": 0.5})[0].id
    [execution] = wait_until(lambda: redis.zrange(f"rq:executions:{first}", 0, -1))
    second = manager.launch(function, {"seconds": 1})[0].id
    wait_until(lambda: manager.get(second).state == "started")
    message = f'{{"command": "stop-job", "job_id": "{first}", "execution_id": "{execution.decode()}"}}'
    [name] = redis.smembers("rq:workers:default")
    assert redis.publish(name.decode().replace("rq:worker:", "rq:pubsub:"), message) == 1
    assert wait_until(lambda: manager.get(second).ended_at and manager.get(second)).state == "finished"


@pytest.mark.parametrize("function", ["rest", "rest_warm"])
def test_rqs_own_command_kills_the_process_of_a_job(
    manager: JobManager, worker: Waiter, redis: Redis, function: str
) -> None:
    id = manager.launch(function, {"seconds": 60})[0].id
    name = wait_until(lambda: manager.get(id).worker)

    def is_killed() -> bool:
        send_kill_horse_command(redis, name)  # which is ignored as long as there is none
        return bool(manager.get(id).state == "failed")

    wait_until(is_killed)
    assert manager.get(id).error.cause.startswith("Its process was killed, and not for want of memory; it had ")


def test_a_job_is_stopped_by_rqs_own_command_and_the_next_one_runs(
    manager: JobManager, worker: Waiter, redis: Redis
) -> None:
    value(manager, "where")  # so the functions are loaded
    id = manager.launch("rest", {"seconds": 60})[0].id
    wait_until(lambda: manager.get(id).state == "started")
    send_stop_job_command(redis, id, "json")
    wait_until(lambda: manager.get(id).state == "stopped", 2)
    assert run(manager, "where").state == "finished"


def hold(manager: JobManager, redis: Redis) -> None:
    """Suspend the worker; it looks once a second, and first runs the job that it already waits for."""
    run(manager, "where")
    wait_until(lambda: any("b" in client["flags"] for client in redis.client_list()))  # it waits for the next one
    suspend(redis)
    moment = time.monotonic() + DUE_SECONDS
    wait_until(lambda: time.monotonic() > moment)
    run(manager, "where")
    [worker] = redis.smembers("rq:workers:default")
    wait_until(lambda: redis.hget(worker, "state") == b"suspended")


def test_suspended_workers_take_no_job_until_they_are_resumed(
    manager: JobManager, worker: Waiter, redis: Redis
) -> None:
    hold(manager, redis)
    id = manager.launch("where", {})[0].id
    moment = time.monotonic() + 2 * DUE_SECONDS
    wait_until(lambda: time.monotonic() > moment)
    assert manager.get(id).state == "queued"
    resume(redis)
    wait_until(lambda: manager.get(id).state == "finished")


@pytest.fixture
def run_rqs_own(redis_url: str, files_url: str, tmp_path: Path) -> Callable[..., object]:
    """Let RQ's own worker run what is on the queue."""

    def run() -> None:
        where = functions_of("rovers", tmp_path)
        environ = os.environ | {"REDIS_URL": redis_url, "FILES_URL": files_url, "PYTHONPATH": where["PYTHONPATH"]}
        command = [str(BIN / "rq"), *f"worker --serializer json --burst --url {redis_url} default".split()]
        subprocess.run(command, cwd=where["cwd"], env=environ, check=True, timeout=60, capture_output=True)

    return run


def test_rqs_own_worker_runs_the_same_queue(
    manager: JobManager, worker: Waiter, run_rqs_own: Callable[[], object]
) -> None:
    jobs = [manager.launch("rest", {"seconds": 0.5})[0].id for _ in range(20)]  # more than RQ's worker needs to start
    run_rqs_own()
    wait_until(lambda: manager.page().counts["finished"] == 20)
    assert len({manager.get(id).worker for id in jobs}) == 2


def test_rqs_own_worker_tells_what_a_job_has_raised(manager: JobManager, run_rqs_own: Callable[[], object]) -> None:
    id = manager.launch("fail", {})[0].id
    run_rqs_own()
    assert manager.get(id).error.cause == "ValueError: no"


@pytest.mark.parametrize("function", ["where", "where_warm"])
def test_a_job_costs_two_round_trips(manager: JobManager, worker: Waiter, redis: Redis, function: str) -> None:
    hold(manager, redis)
    for _ in range(100):
        manager.launch(function, {})
    redis.config_resetstat()
    began = time.monotonic()
    resume(redis)
    wait_until(lambda: redis.zcard("rq:launchpad:state:finished") == 102)
    beside = 5 + 3 * (time.monotonic() - began)  # of the scheduler, each second
    assert 200 <= redis.info("commandstats")["cmdstat_evalsha"]["calls"] <= 200 + beside


def test_a_start_whose_answer_was_lost_is_answered_again_and_takes_no_other_job(
    manager: JobManager, redis: Redis
) -> None:
    first, second = (manager.launch("where", {})[0].id for _ in range(2))
    keys, ask = ["rq:queue:default", "rq:queue:default:intermediate"], ["name", "run", time.time(), "now", 60, ""]
    assert [START_JOB(redis, keys, ask)[0].decode() for _ in range(2)] == [first, first]
    assert START_JOB(redis, keys, [*ask[:1], "other", *ask[2:]])[0].decode() == second
    assert START_JOB(redis, keys, [*ask[:1], "third", *ask[2:]]) is None
    assert manager.get(first).attempt == 1


def test_what_was_given_up_is_not_started(manager: JobManager, redis: Redis) -> None:
    id = manager.launch("where", {})[0].id
    redis.hset(f"rq:job:{id}", "status", "failed")
    keys = ["rq:queue:default", "rq:queue:default:intermediate"]
    for given in ("", id, "unknown"):
        assert START_JOB(redis, keys, ["name", "run", time.time(), "now", 60, given]) is None
    assert redis.hget(f"rq:job:{id}", "status") == b"failed"


@pytest.mark.parametrize("function", ["where", "where_warm"])
def test_a_worker_that_is_told_to_stop_leaves_no_job_that_it_has_taken(
    manager: JobManager, worker: Waiter, function: str
) -> None:
    ids = [manager.launch(function, {})[0].id for _ in range(500)]
    wait_until(lambda: manager.page().counts["finished"] > 100)
    worker.terminate()
    worker.wait(20)
    counts = manager.page().counts
    assert counts["queued"] > 0
    assert counts["queued"] + counts["finished"] == len(ids)
