"""Redis restarts, is away, is killed, is full."""

import os
import signal
import time
from collections.abc import Callable
from statistics import quantiles
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from redis.exceptions import OutOfMemoryError
from scene import FULL, KILLED, TRUTH, Scene, Worker, each_kind

from helpers import answers, below, free_port, wait_until
from launchpad.queue.manager import JobManager
from launchpad.worker.abandoned import SILENCE_SECONDS

pytestmark = pytest.mark.long


class Server:
    """The real server, under gunicorn."""

    def __init__(self, scene: Scene):
        self.url = f"http://127.0.0.1:{free_port()}"
        scene.start(["gunicorn", "--bind", self.url.removeprefix("http://"), "server:create_app()"])
        wait_until(lambda: answers(self.url + "/healthz"))

    def status(self, path: str, data: bytes | None = None) -> tuple[int, float, str]:
        """The status of an answer, how many seconds it took, and its text."""
        request = Request(self.url + path, data, {"Content-Type": "application/json"} if data else {})
        began = time.monotonic()
        try:
            with urlopen(request, timeout=30) as response:
                text, status = response.read().decode(), response.status
        except HTTPError as error:
            text, status = error.read().decode(), error.code
        return status, time.monotonic() - began, text


@pytest.fixture
def server(scene: Scene) -> Server:
    return Server(scene)


def steps(scene: Scene, id: str) -> int:
    progress = scene.job(id).progress
    return int(progress.done) if progress else 0


def log_of(manager: JobManager, id: str) -> list[str]:
    lines: list[str] = []
    after = 0
    while True:
        part = manager.log(id, after)
        lines += [line.text for line in part.lines]
        after = part.next
        if not part.lines:
            return lines


@each_kind
def test_a_job_and_its_worker_outlive_twenty_restarts_of_redis(scene: Scene, worker: Worker) -> None:
    bystander = scene.start_worker()  # its scheduler must not take the job for lost
    enough = scene.folder / "enough"
    id = scene.launch("work", until=str(enough))
    stops: list[Callable[[], None]] = [scene.valkey.stop, scene.valkey.terminate]  # TERM, KILL
    for number in range(20):
        before = steps(scene, id)
        wait_until(lambda before=before: steps(scene, id) > before, TRUTH)
        stops[number % 2]()
        scene.valkey.start()
    before = steps(scene, id)
    wait_until(lambda: steps(scene, id) > before, TRUTH)
    enough.touch()
    last = scene.wait_for(id).result.value
    assert (scene.job(id).attempt, len(scene.runs(id))) == (1, 1)
    assert worker.poll() is bystander.poll() is None
    wait_until(lambda: scene.manager.log(id, 0).complete or len(log_of(scene.manager, id)) > last)
    assert log_of(scene.manager, id) == [str(step) for step in range(last + 1)]


@each_kind
def test_an_outage_of_half_a_minute_ends_no_job_and_is_told(scene: Scene, worker: Worker, server: Server) -> None:
    scene.start_worker(), scene.start_worker()
    enough = scene.folder / "enough"
    working, ending = scene.launch("work", until=str(enough)), scene.launch("rest", seconds=3)
    wait_until(lambda: steps(scene, working) and scene.runs(ending))
    scene.valkey.terminate()
    away, took = time.monotonic(), []
    while time.monotonic() - away < (30 if FULL else SILENCE_SECONDS + 2):
        for path in ("/api/jobs", "/", f"/jobs/{working}", "/readyz"):
            status, seconds, text = server.status(path)
            assert (status, "Redis cannot be reached" in text) == (503, True), path
            took.append(seconds)
    assert quantiles(took, n=20)[-1] < 2  # and not all of them: other tests may stall the machine meanwhile
    scene.valkey.start()
    back = time.monotonic()
    wait_until(lambda: server.status("/api/jobs")[0] == 200, 3)
    before = steps(scene, working)
    wait_until(lambda: steps(scene, working) > before, 3 + back - time.monotonic())
    scene.wait_for(ending, seconds=TRUTH)
    enough.touch()
    scene.wait_for(working)
    assert len(scene.runs(working)) == len(scene.runs(ending)) == 1
    assert worker.poll() is None


@each_kind
def test_nothing_queued_is_lost_when_redis_is_killed(scene: Scene) -> None:
    ids = [scene.launch("rest") for _ in range(1000 if FULL else 100)]
    scene.valkey.terminate()
    scene.valkey.start()
    assert [id.decode() for id in scene.redis.lrange("rq:queue:default", 0, -1)] == ids
    assert [job.position for job in scene.manager.many([ids[0], ids[-1]]).jobs] == [1, len(ids)]
    for _ in range(4):
        scene.start_worker(wait=False)
    for part in (0.2, 0.5, 0.8):  # and again while it works on them
        wait_until(lambda part=part: scene.ended() > part * len(ids), 120)
        scene.valkey.terminate()
        scene.valkey.start()
    wait_until(lambda: scene.ended() == len(ids), 120)
    scene.check(ids)
    assert scene.ran_twice() == []
    assert scene.manager.page().counts["finished"] >= len(ids) - 3  # of those that were just being taken


@each_kind
def test_a_full_redis_refuses_launches_and_every_job_ends_true(scene: Scene, worker: Worker, server: Server) -> None:
    workers = [worker, *(scene.start_worker() for _ in range(3 if FULL else 2))]
    enough = scene.folder / "enough"
    working = scene.launch("work", until=str(enough))
    ending, killed = scene.launch("rest", seconds=2), scene.launch("rest", seconds=100)
    wait_until(lambda: scene.runs(ending) and scene.runs(killed) and steps(scene, working))
    queued = scene.launch("rest")
    scene.redis.config_set("maxmemory", scene.redis.info("memory")["used_memory"] // 2)
    launch = b'{"function": "wait", "arguments": {"num_iterations": 1}}'

    def refused() -> float:
        status, seconds, text = server.status("/api/jobs", launch)
        assert (status, "Redis is full" in text) == (503, True)
        return seconds

    below(2, refused)
    os.kill(scene.runs(killed)[0].pid, signal.SIGKILL)
    full = time.monotonic()
    while time.monotonic() - full < (30 if FULL else 6):
        assert server.status("/api/jobs", launch)[0] == 503
        assert server.status("/api/jobs")[0] == server.status("/")[0] == 200
    assert all(worker.poll() is None for worker in workers)
    total = scene.manager.page().total
    scene.redis.config_set("maxmemory", 0)
    enough.touch()
    assert scene.wait_for(killed, "failed", TRUTH).error.cause.startswith(KILLED)
    for id in (working, ending, queued):
        scene.wait_for(id, seconds=TRUTH)
    assert server.status("/api/jobs", launch)[0] == 202
    wait_until(lambda: scene.ended() == total + 1)
    assert scene.ran_twice() == []
    assert all(worker.poll() is None for worker in workers)


def test_a_launch_that_is_refused_for_want_of_memory_leaves_nothing(scene: Scene) -> None:
    accepted = []
    for room in range(20_000, 30_000, 500):  # the last write that fits is another one each time
        scene.redis.config_set("maxmemory", 0)
        scene.redis.config_set("maxmemory", scene.redis.info("memory")["used_memory"] + room)
        with pytest.raises(OutOfMemoryError):
            while True:
                accepted.append(scene.launch("rest"))
        assert [id.decode() for id in scene.redis.lrange("rq:queue:default", 0, -1)] == accepted
        assert scene.manager.page().total == len(accepted)
        assert len(list(scene.redis.scan_iter("rq:job:*", 1000))) == len(accepted)
        scene.redis.config_set("maxmemory", 0)
    assert accepted
