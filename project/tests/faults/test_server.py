"""The server is killed, meets slow clients, and many browsers at once."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from statistics import quantiles
from threading import Event, Thread
from typing import Any

import pytest
from scene import FULL, TRUTH, Scene, Worker, each_kind

from helpers import answers, below, children, date_back, free_port, polls, wait_until
from launchpad.queue.job import Job
from launchpad.storage import Store

pytestmark = pytest.mark.long

CSV = b"name,born\n" + b"Ada,1815\n" * 20_000


class Server:
    """The real server, under gunicorn, which can be killed and started again."""

    def __init__(self, scene: Scene):
        self.scene, self.port = scene, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        self.process = self.scene.start(["gunicorn", "--bind", f"127.0.0.1:{self.port}", "server:create_app()"])
        wait_until(lambda: answers(self.url + "/healthz"))

    def kill_a_process(self) -> None:
        """Kill one of those that answer; gunicorn starts another one."""
        with suppress(ProcessLookupError):
            os.kill(children(self.process.pid)[0], signal.SIGKILL)

    def kill_and_start(self) -> None:
        """Kill all of it, as when its container is killed, and start it again."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.start()

    def upload(self, key: str, file: bytes = CSV) -> tuple[int, Any]:
        """Launch with a file, and answer status and JSON."""
        headers = {"Content-Type": "multipart/form-data; boundary=B", "Idempotency-Key": key}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request("POST", "/api/jobs", form(file), headers)
            with connection.getresponse() as answer:
                return answer.status, json.loads(answer.read())


def form(file: bytes) -> bytes:
    head = b'--B\r\nContent-Disposition: form-data; name="function"\r\n\r\nprofile_csv\r\n'
    part = b'--B\r\nContent-Disposition: form-data; name="file"; filename="people.csv"\r\n\r\n'
    return head + part + file + b"\r\n--B--\r\n"


@pytest.fixture
def server(scene: Scene) -> Server:
    return Server(scene)


def stored(scene: Scene) -> set[str]:
    """The folders in the file store, after it was swept of all that belongs to no job."""
    store = Store(scene.settings.files_url)
    store.sweep(lambda ids: [Job.exists(id, scene.manager.redis) for id in ids], abandoned=0)
    return {path.name for path in Path(scene.settings.files_url).iterdir()}


@pytest.fixture
def drip(server: Server) -> Iterator[Any]:
    """A client that sends a launch with a file piece by piece, and never comes to its end."""
    stopped, threads = Event(), []

    def start() -> None:
        body = form(CSV)
        connection = socket.create_connection(("127.0.0.1", server.port))
        head = "POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=B\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:100_000])

        def go_on() -> None:
            with connection, suppress(OSError):
                for at in count(100_000, 10):
                    if stopped.wait(0.2):
                        return
                    connection.sendall(body[at : at + 10])

        threads.append(Thread(target=go_on))
        threads[-1].start()

    yield start
    stopped.set()
    for thread in threads:
        thread.join()


@each_kind
@pytest.mark.parametrize("kill", ["kill_a_process", "kill_and_start"])
def test_a_killed_server_loses_no_job_and_leaves_no_file_of_an_upload(
    scene: Scene, worker: Worker, server: Server, kill: str
) -> None:
    accepted: dict[str, str] = {}
    done = Event()

    def upload() -> None:
        for key in map(str, count()):
            while key not in accepted and not done.is_set():
                with suppress(OSError, HTTPException):  # it was killed meanwhile: try again, with the same key
                    status, job = server.upload(key)
                    assert status in (200, 202), job
                    accepted[key] = job["id"]
            if done.is_set():
                return

    uploader = Thread(target=upload)
    uploader.start()
    longest = 0.0
    try:
        for number in range(20 if FULL else 4):
            before = len(accepted)
            wait_until(lambda before=before: len(accepted) > before)
            moment = time.monotonic() + number % 7 * 0.01
            wait_until(lambda moment=moment: time.monotonic() > moment)
            killed = time.monotonic()
            getattr(server, kill)()
            wait_until(lambda: answers(f"{server.url}/api/jobs?id={accepted['0']}"), TRUTH)
            longest = max(longest, time.monotonic() - killed)
    finally:
        done.set()
        uploader.join()
    ids = set(accepted.values())
    assert len(ids) == len(accepted)
    wait_until(lambda: scene.ended() == scene.manager.page().total, 120)
    scene.check(list(ids))
    assert {scene.state(id) for id in ids} == {"finished"}
    total = scene.manager.page().total
    assert total - len(ids) in (0, 1), "the last one, whose answer nobody has heard"
    assert len(stored(scene)) == total
    print(f"{kill}: {len(ids)} uploads accepted; it answered again after at most {longest:.1f} s")


def test_a_server_that_is_killed_in_the_midst_of_an_upload_leaves_nothing_of_it(
    scene: Scene, server: Server, drip: Any
) -> None:
    drip()
    files = Path(scene.settings.files_url)
    wait_until(lambda: list(files.glob("*/upload")))
    server.kill_and_start()
    assert len(list(files.iterdir())) == 1
    assert stored(scene) == set()
    assert scene.manager.page().total == 0


def test_slow_clients_do_not_block_others(scene: Scene, server: Server, drip: Any) -> None:
    number = 24 if FULL else 12
    for _ in range(number):
        drip()
    files = Path(scene.settings.files_url)
    wait_until(lambda: len(list(files.glob("*/upload"))) == number)

    def slowest() -> float:
        found = polls(server.port, "/fragments/jobs", 20, 3, 1)
        assert found["states"].keys() <= {"200", "304"}
        assert found["again"] > 20
        return max(found["seconds"])

    below(2, slowest)
    status, _ = server.upload("key")
    assert status == 202


@pytest.mark.alone
def test_five_hundred_browsers_are_answered_in_time(scene: Scene, server: Server) -> None:
    date_back(scene.manager.redis, [scene.launch("rest") for _ in range(20)])

    def p95() -> float:
        found = polls(server.port, "/fragments/jobs", 500, 4, 1)
        # Whoever asks again is told that nothing has changed.
        assert found["states"] == {"200": 500, "304": found["again"]}
        at = quantiles(found["seconds"], n=20)
        print(f"{len(found['seconds'])} polls, load {os.getloadavg()[0]:.1f}: p50 {at[9]:.3f} s, p95 {at[18]:.3f} s")
        return at[18]

    below(0.2, p95)
