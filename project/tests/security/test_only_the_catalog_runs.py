"""Whoever can write to Redis can launch the functions of jobs.py, and nothing else: not even an import."""

import json
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq.results import Result

from helpers import WORKER, environ_in, process, wait_until
from launchpad.queue.job import RUN, Job
from launchpad.queue.manager import JobManager

EVIL = """
import pathlib
from launchpad.functions.catalog import job

pathlib.Path({path!r}).mkdir(exist_ok=True)

def call(*args, **kwargs):
    pathlib.Path({path!r}, "called").touch()

@job()
def launch(name: str = "") -> None:
    call()
"""


@pytest.fixture
def evil(tmp_path: Path) -> Iterator[Path]:
    """A module that the worker could import: it leaves a folder when it is imported, and a file when it is called."""
    trace = tmp_path / "was-here"
    (tmp_path / "evil.py").write_text(EVIL.format(path=str(trace)))
    yield trace
    assert not trace.exists()


@pytest.fixture
def environ(redis_url: str, files_url: str, tmp_path: Path, evil: Path) -> dict[str, str]:
    return {"REDIS_URL": redis_url, "FILES_URL": files_url, "PYTHONPATH": f"{tmp_path}:{environ_in()['PYTHONPATH']}"}


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A server that notes who has asked it for what: its URL and its notes."""
    notes: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            notes.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", notes
        server.shutdown()
        thread.join()


def write(redis: Redis, manager: JobManager, call: Any, **fields: Any) -> str:
    """Launch a job, and change in Redis what it calls."""
    id: str = manager.launch("wait", {"num_iterations": 1})[0].id
    redis.hset(Job.key_for(id), mapping={"data": zlib.compress(json.dumps(call).encode())} | fields)
    return id


def touch(trace: Path) -> list[Any]:
    return [f"mkdir -p {trace}"]


CALLS: dict[str, Callable[[Path], Any]] = {
    "os.system": lambda trace: ["os.system", None, touch(trace), {}],
    "os.mkdir": lambda trace: ["os.mkdir", None, [str(trace)], {}],
    "subprocess.run": lambda trace: ["subprocess.run", None, touch(trace), {"shell": True}],
    "builtins.exec": lambda trace: ["builtins.exec", None, [f"import os; os.mkdir({str(trace)!r})"], {}],
    "exec": lambda trace: ["exec", None, [f"import os; os.mkdir({str(trace)!r})"], {}],
    "a function of a module that is not imported": lambda _: ["evil.call", None, [], {}],
    "a decorated one": lambda _: ["evil.launch", None, [], {}],
    "a method of an instance": lambda _: ["format", "{0}", ["x"], {}],
    "a function of jobs, without the runner": lambda _: ["jobs.wait", None, [1], {}],
    "another function of the runner": lambda _: ["launchpad.worker.runner.import_module", None, ["evil"], {}],
    "the runner through another name": lambda _: [
        "launchpad.worker.runner.run.__call__",
        None,
        ["evil", "launch", {}],
        {},
    ],
    "the runner with os": lambda trace: [RUN, None, ["os", "system", {"command": touch(trace)[0]}], {}],
    "the runner with another module": lambda _: [RUN, None, ["evil", "launch", {}], {}],
    "the runner with an undecorated function": lambda _: [RUN, None, ["jobs", "png", {"width": 1, "rows": []}], {}],
    "the runner with what jobs imports": lambda trace: [RUN, None, ["jobs", "Path", {"path": str(trace)}], {}],
    "the runner with arguments that it checks": lambda _: [RUN, None, ["jobs", "wait", {"num_iterations": -1}], {}],
    "the runner with keywords": lambda _: [RUN, None, [], {"module": "evil", "function": "launch", "arguments": {}}],
    "nothing": lambda _: [None, None, [], {}],
    "a list": lambda _: [["os.system"], None, [], {}],
    "too little": lambda _: ["os.system"],
}


def test_a_job_that_names_anything_but_a_function_of_jobs_fails_and_says_why(
    manager: JobManager, redis: Redis, evil: Path, environ: dict[str, str]
) -> None:
    ids = {name: write(redis, manager, call(evil)) for name, call in CALLS.items()}
    with process(WORKER, **environ):
        wait_until(lambda: manager.page().counts["failed"] == len(ids), 60)
    for name, id in ids.items():
        cause = manager.get(id).error.cause
        print(f"{name}: {cause}")
        said = "is not run: only functions|has no function|does not take its arguments|validation error|cannot be read"
        assert re.search(said, cause), name


CALLBACKS = {f"{kind}_callback_name": "evil.call" for kind in ("success", "failure", "stopped")}


@pytest.mark.parametrize("end", ["finished", "failed", "stopped"])
def test_no_callback_no_webhook_and_no_repetition_follows_a_job(
    manager: JobManager, redis: Redis, environ: dict[str, str], end: str
) -> None:
    arguments = {"num_iterations": {"finished": 1, "failed": -1, "stopped": 60}[end]}
    with listening() as (url, asked):
        webhooks = [{"url": f"{url}{state}", "job_status": state, "method": "POST"} for state in ("finished", "failed")]
        more = {"webhooks": json.dumps(webhooks), "repeats_left": 3, "repeat_intervals": "[0]"}
        id = write(redis, manager, [RUN, None, ["jobs", "wait", arguments], {}], **CALLBACKS, **more)
        with process(WORKER, **environ):
            if end == "stopped":
                wait_until(lambda: manager.get(id).state == "started")
                manager.stop(id)
            wait_until(lambda: manager.get(id).state == end)
            after = manager.launch("wait", {"num_iterations": 1})[0].id
            wait_until(lambda: manager.get(after).state == "finished")
        assert asked == []
    assert redis.xlen(Result.get_key(id)) == 1
    assert manager.get(id).state == end


def test_no_callback_follows_a_job_whose_worker_was_lost(
    manager: JobManager, redis: Redis, environ: dict[str, str]
) -> None:
    id = write(redis, manager, [RUN, None, ["jobs", "wait", {"num_iterations": 60}], {}], **CALLBACKS)
    with process(WORKER, **environ) as worker:
        wait_until(lambda: manager.get(id).state == "started")
        worker.kill()
    redis.zadd("rq:wip:default", dict.fromkeys(redis.zrange("rq:wip:default", 0, -1), 1))  # its time is long over
    with process(WORKER, **environ):
        wait_until(lambda: manager.get(id).state == "failed", 30)
        after = manager.launch("wait", {"num_iterations": 1})[0].id
        wait_until(lambda: manager.get(after).state == "finished")


def test_the_trap_would_close(environ: dict[str, str], tmp_path: Path, evil: Path) -> None:
    with process(["python", "-c", "import evil; evil.call()"], **environ) as caller:
        assert caller.wait(20) == 0
    (evil / "called").unlink()
    evil.rmdir()
