"""Measures of the server, and of `progress`."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import StringIO
from statistics import median, quantiles
from threading import Event, Thread
from typing import Any

from redis.connection import AbstractConnection
from stage import APP, CELERY, FLASK_RQ, OURS, OURS_WARM, RQ_WORKER, Kind, Server, Stage, rounds
from table import Table
from tqdm import tqdm

from helpers import date_back, polls
from launchpad.functions import progress
from launchpad.queue.job import Job
from launchpad.settings import Settings
from server import create_app
from test_index import seed

ALONE = Kind("Flask alone, a fixed answer", "", "", 0)


def first(stage: Stage, table: Table) -> None:
    """From a launch over HTTP to the first progress that the API tells."""
    kinds = [RQ_WORKER, OURS, OURS_WARM, FLASK_RQ, CELERY]
    stage.redis.flushall()
    with ExitStack() as opened:
        launches = {}
        for number, kind in enumerate(kinds):
            base = 2 * number
            opened.enter_context(stage.worker(kind, base))
            server = opened.enter_context(stage.server(kind, base, PEER=kind.client))
            launches[kind.name] = lambda kind=kind, server=server: 1000 * launched(kind, server)
        for launch in launches.values():
            launch()  # which waits until the worker is there
        found = rounds(stage.scaled(100), launches)
    table.add("Launch to first progress, ms, p50", found)
    slow = {kind: [quantiles(values, n=20)[-1]] for kind, values in found.items()}
    table.add("Launch to first progress, ms, p95", slow)


def launched(kind: Kind, server: Server) -> float:
    """Launch, ask until there is progress, tell how long that took, and wait for the end."""
    if kind.is_ours:
        path, body, ended = "/api/jobs", {"function": "step", "arguments": {}}, lambda job: job["ended_at"]
    else:
        path, body, ended = "/launch", {}, lambda job: job["ended"]
    began, deadline = time.perf_counter(), time.perf_counter() + 60
    id = json.loads(server.ask(path, body))["id"]
    seen = 0.0
    while not ended(job := json.loads(server.ask(f"{'/api' * kind.is_ours}/jobs/{id}"))) or not seen:
        if job["progress"] and not seen:
            seen = time.perf_counter() - began
        if time.perf_counter() > deadline:
            raise SystemExit(f"{kind.name}: no progress, or no end, in a minute: {job}")
    return seen


def trips(stage: Stage, table: Table) -> None:
    """Round trips to Redis of what the server does."""
    stage.redis.flushall()
    seed(stage.redis, 2000)
    app = create_app(Settings(redis_url=stage.url(), files_url=str(stage.folder / "files")))
    manager, client = app.extensions["launchpad"].manager, app.test_client()
    job = Job.create("jobs.wait", connection=manager.redis, serializer="json")
    job.save()
    progress.report_to(job)
    bar = progress.progress(total=9)
    actions: dict[str, Callable[[], Any]] = {
        "a launch": lambda: client.post("/api/jobs", json={"function": "wait", "arguments": {}}),
        "the status of a job": lambda: client.get("/api/jobs/job-1"),
        "the status of 1,100 jobs": lambda: manager.many([f"job-{i}" for i in range(1100)]),
        "the list": lambda: client.get("/api/jobs"),
        "the page": lambda: client.get("/"),
        "an update of progress": lambda: (bar.update(), progress.save()),
    }
    rows = {}
    for name, action in actions.items():
        action()  # connects
        app.extensions["launchpad"].cache._forget()
        with counted() as sent:
            action()
        rows[name] = [len(sent)]
    progress.report_to(None)
    manager.redis.close()
    table.add("Round trips to Redis", rows, compared=False)


@contextmanager
def counted() -> Iterator[list[None]]:
    """Count what is sent to Redis: a command, or a pipeline of them."""
    sent: list[None] = []
    send = AbstractConnection.send_packed_command

    def count(*args: Any, **kwargs: Any) -> None:
        sent.append(None)
        send(*args, **kwargs)

    AbstractConnection.send_packed_command = count
    try:
        yield sent
    finally:
        AbstractConnection.send_packed_command = send


def lists(stage: Stage, table: Table) -> None:
    """The list with a hundred, ten thousand and a hundred thousand jobs."""
    stage.redis.flushall()
    with ExitStack() as opened:
        servers = {}
        for number, size in enumerate((100, stage.scaled(10_000), stage.scaled(100_000))):
            seed(stage.connect(number), size)
            servers[f"{size:,} jobs"] = opened.enter_context(stage.server(OURS, number, APP))
        for path in ("/api/jobs", "/fragments/jobs", "/"):
            actions = {name: lambda at=at, path=path: answer(at, path) for name, at in servers.items()}
            table.add(f"`GET {path}`, ms", rounds(stage.times, actions))
            table.add(f"`GET {path}`, bytes", {name: [len(at.ask(path))] for name, at in servers.items()})


def answer(server: Server, path: str, times: int = 40) -> float:
    """Tell the milliseconds of an answer that the server does not know yet: the median of some."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        server.ask(f"{path}?{time.monotonic_ns()}")
        seconds.append(time.perf_counter() - began)
    return 1000 * median(seconds)


def status(stage: Stage, table: Table) -> None:
    """Status requests per second, 16 at a time."""
    stage.redis.flushall()
    stage.fill(OURS, 1, "noop")
    with ExitStack() as opened:
        ours = opened.enter_context(stage.server(OURS))
        id = json.loads(ours.ask("/api/jobs"))["jobs"][0]["id"]
        job = ours.ask(f"/api/jobs/{id}").decode()
        alone = opened.enter_context(stage.server(ALONE, JOB=job))
        rq = opened.enter_context(stage.server(RQ_WORKER, 2, PEER=RQ_WORKER.client))
        other = json.loads(rq.ask("/launch", {}))["id"]
        asked = {
            ALONE.name: (alone, "/jobs/1"),
            "`Job.fetch` of RQ in a Flask view": (rq, f"/jobs/{other}"),
            "`GET /api/jobs/<id>`": (ours, f"/api/jobs/{id}"),
            "`GET /fragments/jobs`, as the page asks": (ours, "/fragments/jobs"),
        }
        actions = {name: lambda at=at, path=path: per_second(at, path, stage) for name, (at, path) in asked.items()}
        actions["`GET /api/jobs/<id>` while the job saves progress"] = lambda: changing(stage, ours, id)
        table.add("Status requests per second", rounds(stage.times, actions))


def changing(stage: Stage, server: Server, id: str) -> float:
    """Tell how many requests a second are answered about a job that saves its progress ten times a second."""
    job, is_over = Job.fetch(id, stage.redis), Event()

    def work() -> None:
        while not is_over.wait(0.1):
            job.meta["done"] = job.meta.get("done", 0) + 1
            job.save_meta()

    worker = Thread(target=work)
    worker.start()
    try:
        return per_second(server, f"/api/jobs/{id}", stage)
    finally:
        is_over.set()
        worker.join()


def per_second(server: Server, path: str, stage: Stage) -> float:
    """Tell how many requests a second are answered when 16 wait at any time."""
    found = load(server, path, 16, max(3 * stage.size, 0.3), 0)
    return len(found["seconds"]) / found["elapsed"]


def load(server: Server, path: str, connections: int, seconds: float, pause: float) -> dict[str, Any]:
    """Let a process of its own ask; any other answer than 200 and 304 ends the bench."""
    found = polls(server.port, path, connections, seconds, pause)
    if not found["states"].keys() <= {"200", "304"}:
        raise SystemExit(f"{path} was answered with {found['states']}")
    return found


def browsers(stage: Stage, table: Table) -> None:
    """Five hundred browsers that show the same twenty jobs, of which none changes."""
    stage.redis.flushall()
    stage.fill(OURS, 20, "noop")  # they wait: so the page asks each second, not each five
    with stage.server(OURS) as server:
        date_back(stage.redis, [job["id"] for job in json.loads(server.ask("/api/jobs"))["jobs"]])
        load(server, "/fragments/jobs", 50, 1, 0)  # the threads start
        found = [polled(server, "/fragments/jobs", stage) for _ in range(stage.times)]
    names = ("p50, ms", "p95, ms", "304 to who asks again, %", "seconds of processor per second", "requests per second")
    rows = {name: [values[number] for values in found] for number, name in enumerate(names)}
    table.add("500 browsers, nothing changes", rows, compared=False)


def polled(server: Server, path: str, stage: Stage) -> tuple[float, ...]:
    """Tell how the browsers fare, and what they cost."""
    before, began = server.child.cpu(), time.perf_counter()
    found = load(server, path, 500, max(8 * stage.size, 2), 1)
    cpu = (server.child.cpu() - before) / (time.perf_counter() - began)
    twentieths = quantiles(found["seconds"], n=20)
    number = len(found["seconds"])
    unchanged = 100 * found["states"].get("304", 0) / found["again"]
    return 1000 * twentieths[9], 1000 * twentieths[18], unchanged, cpu, number / found["elapsed"]


def bar(stage: Stage, table: Table) -> None:
    """A tight loop under tqdm, under `progress` in a job, and with a save in each step."""
    stage.redis.flushall()
    job = Job.create("jobs.wait", connection=stage.redis, serializer="json")
    job.save()
    many, few = stage.scaled(1_000_000), stage.scaled(5000)

    def save() -> None:
        for n in range(few):
            job.meta["done"] = n
            job.save_meta()

    actions = {
        "tqdm": lambda: timed(lambda: loop(tqdm(range(many), file=StringIO()))) / many,
        "`progress`": lambda: timed(lambda: loop(progress.progress(range(many)))) / many,
        "`job.save_meta()`": lambda: timed(save) / few,
    }
    progress.report_to(job)
    table.add("A step of a loop, microseconds", rounds(stage.times, actions))
    progress.report_to(None)


def loop(steps: Any) -> None:
    """Do nothing, step by step."""
    for _ in steps:
        pass


def timed(action: Callable[[], Any]) -> float:
    """Tell how many microseconds something took."""
    began = time.perf_counter()
    action()
    return 1e6 * (time.perf_counter() - began)
