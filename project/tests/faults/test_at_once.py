"""Many people end, retry and delete one job at the same time."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from threading import Barrier
from typing import Any

import pytest
from scene import TRUTH, Scene, Worker, each_kind
from test_deleted import traces
from test_server import Server

from helpers import alive, wait_until

pytestmark = [each_kind, pytest.mark.long]
STOP = 2
Answer = tuple[str, int, Any]


@pytest.fixture
def worker(scene: Scene) -> Worker:
    return scene.start_worker(STOP_SECONDS=str(STOP))


@pytest.fixture
def server(scene: Scene) -> Server:
    return Server(scene)


def ask(server: Server, id: str, action: str) -> Answer:
    method, path = ("DELETE", "") if action == "delete" else ("POST", f"/{action}")
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=15)) as connection:
        connection.request(method, f"/api/jobs/{id}{path}")
        with connection.getresponse() as answer:
            text = answer.read()
            return action, answer.status, json.loads(text) if text else None


def ask_at_once(server: Server, id: str, actions: list[str]) -> list[Answer]:
    start = Barrier(len(actions))

    def wait_and_ask(action: str) -> Answer:
        start.wait()
        return ask(server, id, action)

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(wait_and_ask, actions))


def begin(scene: Scene, until: str) -> tuple[str, int]:
    id = scene.launch("clean_up", until=until)
    [run] = wait_until(lambda: scene.runs(id))
    return id, run.pid


@pytest.mark.parametrize("until", ["it has cleaned up", "it is killed"])
def test_ten_stops_of_one_job_at_once_are_each_answered_truly(
    scene: Scene, worker: Worker, server: Server, until: str
) -> None:
    id, pid = begin(scene, until)
    for _, status, body in ask_at_once(server, id, ["stop"] * 10):
        if status == 202:
            assert (body["state"], body["stopping"]) in [("started", True), ("stopped", False)]
        else:
            assert (status, body["detail"]) == (409, "The job is stopped already.")
    assert scene.wait_for(id, "stopped").error.cause == "It was stopped."
    assert not alive(pid)
    scene.wait_for(scene.launch("rest"))


def test_a_job_that_is_stopped_retried_and_deleted_at_once_is_gone_and_each_is_answered_truly(
    scene: Scene, worker: Worker, server: Server
) -> None:
    allowed = {"stop": {202, 404, 409}, "retry": {202, 404, 409}, "delete": {204, 404}}
    for _ in range(10):
        id, pid = begin(scene, "it has cleaned up")
        answers = ask_at_once(server, id, ["stop", "delete", "retry"] * 2)
        assert all(status in allowed[action] for action, status, _ in answers), answers
        assert ("delete", 204, None) in answers
        wait_until(lambda pid=pid: not alive(pid), TRUTH)
        rest = scene.launch("rest")
        scene.wait_for(rest, seconds=TRUTH)  # the worker is free again
        assert traces(scene, id) == []
        assert scene.manager.many([id]).jobs == []
        scene.manager.delete(rest)
    assert scene.manager.page().total == 0
    assert worker.poll() is None


def test_a_job_that_is_stopped_and_retried_at_once_ends_true(scene: Scene, worker: Worker, server: Server) -> None:
    for _ in range(5):
        id, _ = begin(scene, "it has cleaned up")
        answers = ask_at_once(server, id, ["stop", "retry"] * 3)
        assert all(status in (202, 409) for _, status, _ in answers), answers
        if scene.state(id) != "stopped":  # a retry came after it had stopped
            wait_until(lambda id=id: scene.state(id) in ("started", "stopped", "canceled"))
            assert sum(action == "retry" and status == 202 for action, status, _ in answers) >= 1, answers
            ask(server, id, "stop")
        wait_until(lambda id=id: scene.state(id) in ("stopped", "canceled"), TRUTH)
        scene.check([id])
    scene.wait_for(scene.launch("rest"))
