"""`make run`: the real processes, started by the real local.py, in a folder and on ports of their own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server
from typing import Any
from urllib.request import Request, urlopen

import pytest
from redis import Redis

import local
from helpers import PROJECT, WORKER, answers, copy_project, free_port, wait_until

PORTS = ("SERVER_PORT", "DASHBOARD_PORT", "VALKEY_PORT")
# What the machine that runs the tests has set for itself: empty means the default.
UNSET = {name.upper(): "" for name in local.LocalSettings.model_fields}


def environment(**environ: str) -> dict[str, str]:
    return os.environ | UNSET | {name: str(free_port()) for name in PORTS} | environ


def command_in(folder: Path) -> list[str]:
    """The command of `make run`, for a copy of the project in this folder."""
    project = folder / "project"
    return [sys.executable, str((project if project.exists() else copy_project(folder)) / "local.py")]


class Run:
    """A `make run`, until it is ended or the test is over."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.output = folder / "output.txt"
        self.environ = environment(**environ)
        command = command_in(folder)
        with self.output.open("w") as output:
            self.process = subprocess.Popen(command, cwd=folder, env=self.environ, stdout=output, stderr=output)

    def url(self, port: str, path: str) -> str:
        return f"http://127.0.0.1:{self.environ[port]}{path}"

    def ask(self, path: str, body: Any = None) -> Any:
        """GET, or POST the body as JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.url("SERVER_PORT", path), data, {"Content-Type": "application/json"})
        with urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def launch(self, seconds: int) -> str:
        """Launch a job and return its path."""
        job = self.ask("/api/jobs", {"function": "wait", "arguments": {"num_iterations": seconds}})
        return f"/api/jobs/{job['id']}"

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.output.read_text()
        return answers(self.url("SERVER_PORT", "/readyz")) and answers(self.url("DASHBOARD_PORT", "/healthz"))

    def pids(self) -> dict[str, int]:
        """The processes that it says to have started."""
        return {name: int(pid) for name, pid in re.findall(r"([\w-]+) started \(pid (\d+)\)", self.output.read_text())}

    def has_left_nothing(self) -> bool:
        return not any(has_processes(group) for group in self.pids().values())


def has_processes(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def running(folder: Path, **environ: str) -> Iterator[Run]:
    """Start everything and wait for it; end it when the test has not."""
    run = Run(folder, **environ)
    try:
        wait_until(run.is_up)
        yield run
    finally:
        run.process.terminate()
        run.process.wait(30)


def refusal(folder: Path, **environ: str) -> str:
    """Return the one line with which it refuses to start."""
    command, settings = command_in(folder), environment(**environ)
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def finish_a_job(run: Run) -> str:
    job = run.launch(1)
    wait_until(lambda: run.ask(job)["state"] == "finished")
    return job


def connections(redis: Redis) -> set[str]:
    return {client["id"] for client in redis.client_list()}


def press_ctrl_c(run: Run) -> None:
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(20) == 0
    wait_until(run.has_left_nothing)


def kill(run: Run) -> None:
    run.process.kill()
    wait_until(run.has_left_nothing)


@pytest.mark.long
@pytest.mark.parametrize("end", [press_ctrl_c, kill])
def test_it_ends_with_all_its_processes_and_the_next_run_has_the_jobs(
    tmp_path: Path, end: Callable[[Run], None]
) -> None:
    with running(tmp_path) as run:
        assert set(run.pids()) == {"valkey", "worker", "dashboard", "server", "guard"}
        job = finish_a_job(run)
        end(run)
    with running(tmp_path) as run:
        assert run.ask(job)["result"]["value"] == 1
        finish_a_job(run)


@pytest.mark.long
def test_ctrl_c_twice_fails_the_running_job_and_leaves_no_process_of_it(tmp_path: Path, redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        before = connections(redis)
        with running(tmp_path, REDIS_URL=redis_url, GRACE_SECONDS="60") as run:
            assert "valkey" not in run.pids()
            job = run.launch(60)
            wait_until(lambda: run.ask(job)["progress"])
            run.process.send_signal(signal.SIGINT)
            wait_until(lambda: "stopping" in run.output.read_text())
            began = time.monotonic()
            press_ctrl_c(run)
            assert time.monotonic() - began < 5, "at once, and not after its grace"
        assert connections(redis) <= before, "somebody of the run is still there"
        assert redis.hget(job.replace("/api/jobs/", "rq:job:"), "status") == b"failed"


@pytest.mark.long
def test_ctrl_c_lets_a_job_finish_that_needs_no_longer_than_its_grace(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        job = run.launch(3)
        wait_until(lambda: run.ask(job)["progress"])
        press_ctrl_c(run)
        assert "(a running job gets 6 s)" in run.output.read_text()
    with running(tmp_path) as run:
        assert run.ask(job)["state"] == "finished"


@pytest.mark.long
def test_so_many_workers_run_as_are_wanted_and_all_have_their_grace_at_once(tmp_path: Path) -> None:
    with running(tmp_path, WORKERS="3", GRACE_SECONDS="1", STOP_SECONDS="1") as run:
        assert {name for name in run.pids() if "worker" in name} == {"worker-1", "worker-2", "worker-3"}
        wait_until(lambda: run.ask("/readyz")["workers"] == 3)
        jobs = [run.launch(60) for _ in range(3)]
        wait_until(lambda: all(run.ask(job)["progress"] for job in jobs))
        began = time.monotonic()
        press_ctrl_c(run)
        assert time.monotonic() - began < 6, "one after the other they would need more"
    with running(tmp_path) as run:
        assert "worker" in run.pids()
        assert [run.ask(job)["state"] for job in jobs] == ["failed"] * 3


@pytest.mark.long
def test_a_kill_lets_the_workers_have_their_grace_too(tmp_path: Path) -> None:
    with running(tmp_path, GRACE_SECONDS="10") as run:
        job = run.launch(8)
        wait_until(lambda: run.ask(job)["progress"])
        run.process.kill()
        wait_until(run.has_left_nothing, 30)
    with running(tmp_path) as run:
        assert run.ask(job)["state"] == "finished"


def test_when_one_part_ends_all_end_and_it_is_an_error(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        with Redis(port=int(run.environ["VALKEY_PORT"])) as redis:  # no test of its own: a start takes seconds
            assert redis.config_get("bind", "appendonly") == {"bind": "127.0.0.1", "appendonly": "yes"}
        os.kill(run.pids()["dashboard"], signal.SIGKILL)
        assert run.process.wait(20) == 1
        wait_until(run.has_left_nothing)
        assert "dashboard ended with status -9" in run.output.read_text()


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("import no_such_package\n", "there is no module no_such_package: name its package in requirements.in"),
        (
            "@job(timeout=0)\ndef run() -> None: ...\n",
            "run: option timeout: Input should be greater than or equal to 1",
        ),
    ],
)
def test_a_mistake_in_the_functions_is_the_last_line(tmp_path: Path, code: str, line: str) -> None:
    jobs = copy_project(tmp_path, "\n\n" + code) / "jobs.py"
    number = jobs.read_text().count("\n") + 1 - code.count("\n")
    command, settings = command_in(tmp_path), environment()
    done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(f"launchpad.Mistake: jobs.py, line {number}: {line}")
    assert done.stderr.count("\n") == 1
    assert "Traceback" in done.stdout


@pytest.mark.parametrize("name", PORTS)
def test_a_port_in_use_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    with create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refusal(tmp_path, **{name: str(port)})
    assert line == f"Cannot listen on 127.0.0.1:{port} ({name}): Address already in use\n"


def test_one_port_for_two_parts_is_refused(tmp_path: Path) -> None:
    port = str(free_port())
    assert "DASHBOARD_PORT" in refusal(tmp_path, SERVER_PORT=port, DASHBOARD_PORT=port)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVER_PORT", "http"),
        ("DASHBOARD_PORT", "70000"),
        ("VALKEY_PORT", "0"),
        ("BIND_ADDRESS", "nowhere"),
        ("BIND_ADDRESS", "192.0.2.1"),  # an address for examples: no machine has it
        ("REDIS_URL", "http://localhost"),
        ("LOGIN_PASSWORD", "secret"),
        ("WORKERS", "0"),
        ("WORKERS", "many"),
        ("GRACE_SECONDS", "-1"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(tmp_path: Path, name: str, value: str) -> None:
    line = refusal(tmp_path, **{name: value})
    assert name in line or value in line


@pytest.mark.parametrize("found", ["3.10", "3.14", "missing"])
def test_a_python_that_does_not_fit_is_named_in_one_line(tmp_path: Path, found: str) -> None:
    python = tmp_path / "python"
    if found != "missing":
        python.write_text(f"#!/bin/sh\necho {found}\n")
        python.chmod(0o755)
    command = ["make", "run", f"PYTHON={python}", f"VENV={tmp_path}/venv"]
    done = subprocess.run(command, cwd=PROJECT.parent, capture_output=True, text=True, timeout=30)
    line, of_make = done.stderr.splitlines()
    assert line == f"Python 3.11, 3.12 or 3.13 is needed; {python} is {found}. Set PYTHON=..."
    assert "*** [" in of_make


def test_the_worker_is_started_with_the_words_of_the_compose_files() -> None:
    compose = (PROJECT.parent / "docker-compose.yml").read_text()
    assert f"command: {local.WORKER}\n" in compose
    assert local.WORKER.split() == WORKER
    overlay = (PROJECT.parent / "docker-compose-development.yml").read_text()
    assert "rq worker" not in overlay
