"""How a job is ended before its time, what is left of it then, and what it used."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

import test_warm
from helpers import PROJECT, WORKER, alive, functions_of, is_listening, process, wait_until
from launchpad.queue import schemas
from launchpad.queue.manager import JobManager

Waiter = subprocess.Popen[bytes]


manager = test_warm.manager


@pytest.fixture
def worker(redis_url: str, files_url: str, redis: Redis, tmp_path: Path) -> Iterator[Waiter]:
    environ = {"REDIS_URL": redis_url, "FILES_URL": files_url, "GRACE_SECONDS": "1", "STOP_SECONDS": "4"}
    with process(WORKER, **environ, **functions_of("rovers", tmp_path)) as child:
        wait_until(lambda: is_listening(redis))
        yield child


def launch(manager: JobManager, function: str, **arguments: Any) -> str:
    return str(manager.launch(function, arguments)[0].id)


def end_of(manager: JobManager, id: str) -> schemas.Job:
    return wait_until(lambda: (job := manager.get(id)).ended_at and job)


def lines(manager: JobManager, id: str) -> list[tuple[str, str]]:
    wait_until(lambda: manager.log(id, 0).complete)
    return [(line.level, line.text) for line in manager.log(id, 0).lines]


# -- a kind end


def test_a_stop_lets_a_job_clean_up_which_it_cannot_swallow_and_says_so_meanwhile(
    manager: JobManager, worker: Waiter, client: FlaskClient, tmp_path: Path
) -> None:
    id = launch(manager, "clean_up", folder=str(tmp_path), seconds=1)
    wait_until((tmp_path / "begun").exists)
    assert not client.get(f"/api/jobs/{id}").json["stopping"]
    assert client.post(f"/api/jobs/{id}/stop").status_code == 202
    job = end_of(manager, id)
    assert (tmp_path / "cleaned").exists()
    assert not (tmp_path / "swallowed").exists()
    assert (job.state, job.error.cause, job.stopping) == ("stopped", "It was stopped.", False)
    assert "in clean_up" in job.error.traceback
    assert "Interrupt" not in job.error.traceback, "it would look like an error of the function's"


def test_a_job_says_that_it_is_stopping_while_it_cleans_up_and_a_second_stop_kills_it_at_once(
    manager: JobManager, worker: Waiter, client: FlaskClient, tmp_path: Path
) -> None:
    id = launch(manager, "clean_up", folder=str(tmp_path), seconds=60)
    wait_until((tmp_path / "begun").exists)
    answer = client.post(f"/api/jobs/{id}/stop").json
    assert (answer["state"], answer["stopping"]) == ("started", True)
    wait_until((tmp_path / "cleaning").exists)
    before = time.monotonic()
    answer = client.post(f"/api/jobs/{id}/stop").json
    assert time.monotonic() - before < 2
    assert (answer["state"], answer["stopping"]) == ("stopped", False)
    assert not (tmp_path / "cleaned").exists()


def test_a_job_that_does_not_clean_up_in_time_is_killed(manager: JobManager, worker: Waiter, tmp_path: Path) -> None:
    id = launch(manager, "clean_up", folder=str(tmp_path), seconds=60)
    wait_until((tmp_path / "begun").exists)
    before = time.monotonic()
    manager.stop(id)
    assert end_of(manager, id).state == "stopped"
    assert 4 <= time.monotonic() - before < 12
    assert not (tmp_path / "cleaned").exists()


def test_a_time_limit_lets_a_job_clean_up(manager: JobManager, worker: Waiter, tmp_path: Path) -> None:
    job = end_of(manager, launch(manager, "clean_up_in_time", folder=str(tmp_path)))
    assert (job.state, job.error.cause) == ("failed", "It took longer than its limit of 2 seconds.")
    assert (tmp_path / "cleaned").exists()


def test_a_stop_kills_a_job_that_cleans_up_after_its_time(manager: JobManager, worker: Waiter, tmp_path: Path) -> None:
    id = launch(manager, "clean_up_in_time", folder=str(tmp_path), seconds=60)
    wait_until(lambda: manager.get(id).stopping)
    job = wait_until(lambda: (job := manager.stop(id)).ended_at and job)  # one that comes too soon is a double click
    assert (job.state, job.error.cause) == ("stopped", "It was stopped.")
    assert not (tmp_path / "cleaned").exists()


def test_a_worker_that_is_told_to_end_lets_a_job_clean_up(manager: JobManager, worker: Waiter, tmp_path: Path) -> None:
    id = launch(manager, "clean_up", folder=str(tmp_path), seconds=0)
    wait_until((tmp_path / "begun").exists)
    worker.terminate()
    worker.wait(15)
    assert manager.get(id).error.cause == "Its worker was shut down while it ran."
    assert (tmp_path / "cleaned").exists()


def test_an_async_function_runs_and_may_clean_up(manager: JobManager, worker: Waiter, tmp_path: Path) -> None:
    assert end_of(manager, launch(manager, "wait_in_a_loop", seconds=0.1)).result.value == "waited"
    id = launch(manager, "clean_up_in_a_loop", folder=str(tmp_path))
    wait_until((tmp_path / "begun").exists)
    manager.stop(id)
    assert end_of(manager, id).state == "stopped"
    assert (tmp_path / "cleaned").exists()


# -- nothing is left


def astray(folder: Path) -> list[int]:
    """The processes that a job has led astray."""
    wait_until((folder / "child").exists)  # which is the last that it writes
    return [int(wait_until((folder / name).read_text)) for name in ("daemon", "child")]


ENDS = ["end", "crash", "leave"]  # by itself


@pytest.mark.parametrize("how", [*ENDS, "stop", "delete", "limit", "kill"])
def test_what_a_job_has_started_ends_with_it_in_whatever_session_it_is(
    manager: JobManager, worker: Waiter, tmp_path: Path, how: str
) -> None:
    if how == "limit":
        id = launch(manager, "lead_astray_too_long", folder=str(tmp_path))
    else:
        id = launch(manager, "lead_astray", folder=str(tmp_path), then=how if how in ENDS else "rest")
    pids = astray(tmp_path)
    if how == "stop":
        manager.stop(id)
    elif how == "delete":
        manager.delete(id)
        assert not any(map(alive, pids))
        return
    elif how == "kill":
        os.kill(int((tmp_path / "job").read_text()), signal.SIGKILL)
    assert end_of(manager, id).state == {"stop": "stopped", "end": "finished"}.get(how, "failed")
    assert not any(map(alive, pids))


def test_what_a_job_has_started_ends_with_its_worker(manager: JobManager, worker: Waiter, tmp_path: Path) -> None:
    launch(manager, "lead_astray", folder=str(tmp_path), then="rest")
    pids = astray(tmp_path)
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, pids)))


@pytest.mark.parametrize("then", ["end", "fail", "crash", "rest"])
def test_temporary_files_are_in_a_folder_of_the_run_and_gone_afterwards(
    manager: JobManager, worker: Waiter, then: str
) -> None:
    id = launch(manager, "write_a_temporary_file", then=then)
    if then == "rest":
        wait_until(lambda: manager.log(id, 0).lines)
        manager.stop(id)
    end_of(manager, id)
    file = Path(lines(manager, id)[0][1])
    assert file.parent.name.startswith("launchpad-job-")
    assert not file.parent.exists()


# -- what it used


def test_what_a_job_and_its_children_have_used_is_told(
    manager: JobManager, worker: Waiter, client: FlaskClient
) -> None:
    id = launch(manager, "use_a_lot", then="end")
    assert client.get(f"/api/jobs/{id}").json["usage"] is None
    end_of(manager, id)
    usage = client.get(f"/api/jobs/{id}").json["usage"]
    assert 0.3 < usage["cpu_seconds"] < 10
    assert 100_000_000 < usage["max_memory_bytes"] < 400_000_000
    assert "MB of memory" in client.get(f"/jobs/{id}").text


def test_what_a_job_that_was_killed_has_used_is_told(manager: JobManager, worker: Waiter) -> None:
    id = launch(manager, "use_a_lot", then="rest")
    folder = wait_until(lambda: next(iter(manager.log(id, 0).lines), None)).text
    pid = int(wait_until(lambda: Path(folder, "used").exists() and Path(folder, "used").read_text()))
    os.kill(pid, signal.SIGKILL)
    job = end_of(manager, id)
    assert job.usage.cpu_seconds > 0.3
    assert job.usage.max_memory_bytes > 100_000_000
    assert re.fullmatch(r"Its process was killed, and not for want of memory; it had \d+\.\d MB\.", job.error.cause)


@pytest.mark.parametrize("function", ["take_400_mb", "take_400_mb_warm"])
def test_a_job_that_takes_more_memory_than_it_may_is_ended_and_its_worker_goes_on(
    manager: JobManager, worker: Waiter, function: str
) -> None:
    job = end_of(manager, launch(manager, function))
    assert job.state == "failed"
    match = re.fullmatch(r"It was killed at (\d+)\.\d MB of memory; its limit is 200\.0 MB\.", job.error.cause)
    assert match, job.error.cause
    assert 200 < int(match[1]) <= 600
    assert end_of(manager, launch(manager, "where")).state == "finished"
    assert worker.poll() is None


def test_what_ends_what_a_job_has_left_behind_waits_for_no_process_that_is_spared() -> None:
    code = """
import os, time
from launchpad.worker.processes import Usage, kill_descendants
spared = os.fork() or os._exit(7)
left = os.fork() or time.sleep(60)
os.waitid(os.P_PID, spared, os.WEXITED | os.WNOWAIT)
assert kill_descendants(Usage(), {spared})
assert not os.path.exists(f"/proc/{left}")
assert os.waitstatus_to_exitcode(os.waitpid(spared, 0)[1]) == 7
"""
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True, timeout=30)


# -- its log


def test_basic_config_in_a_job_works_as_in_a_script(manager: JobManager, worker: Waiter) -> None:
    id = launch(manager, "log_as_a_script_does")
    assert end_of(manager, id).state == "finished"
    assert sorted(text for _, text in lines(manager, id)) == ["DEBUG:root:fine", "WARNING:a.library:careful", "printed"]
