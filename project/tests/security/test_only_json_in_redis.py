"""A pickle runs code when it is read. Here is one wherever Redis holds anything, and nobody may read it."""

import os
import pickle
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest
import rq
from flask import Flask
from redis import Redis

import dashboard
from helpers import WORKER, process, wait_until
from launchpad.queue.job import Job
from launchpad.queue.logs import KEY_PREFIX as KEY
from launchpad.queue.manager import JobManager
from launchpad.settings import Settings

# All that RQ reads of a job's hash; and what a job of ours has besides.
FIELDS = """data result exc_info meta description origin status timeout created_at enqueued_at started_at ended_at
  last_heartbeat worker_name group_id result_ttl failure_ttl ttl success_callback_name success_callback_timeout
  failure_callback_name failure_callback_timeout stopped_callback_name stopped_callback_timeout webhooks dependency_id
  dependency_ids allow_dependency_failures enqueue_at_front number_of_retries retries_left retry_intervals
  enqueue_at_front_on_retry repeats_left repeat_intervals rate_limit_key rate_limit_concurrency""".split()  # noqa: SIM905
PROTOCOLS = (0, pickle.HIGHEST_PROTOCOL)  # text, which passes for a string; and bytes, which do not
REGISTRIES = ("queued", "scheduled", "deferred", "started", "finished", "failed", "canceled")
VALUES = {
    "name": ["wait"], "filename": ["style.css", "css/main.css"], "instance_number": ["0"], "queue_name": ["default"],
    "registry_name": REGISTRIES, "per_page": ["200"], "order": ["asc", "dsc"], "page": ["1"],
}  # fmt: skip


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def bomb(tmp_path: Path) -> Iterator[Bomb]:
    bomb = Bomb(tmp_path / "exploded")
    yield bomb
    assert not bomb.path.exists(), "something has read a pickle"


@pytest.fixture
def apps(app: Flask, settings: Settings) -> Iterator[list[Flask]]:
    """The server and the dashboard."""
    other = dashboard.create_app(settings)
    yield [app, other]
    for each in (app, other):
        each.extensions["launchpad"].manager.redis.close()


def visit(apps: list[Flask], ids: list[str]) -> dict[str, int]:
    """Get every address of these applications, for each of these jobs: those that fail, and how."""
    failed = {}
    for app in apps:
        client = app.test_client()
        for rule in app.url_map.iter_rules():
            if "GET" in (rule.methods or ()):
                known = VALUES | {"id": ids, "job_id": ids}
                for values in product(*(known[name] for name in sorted(rule.arguments))):
                    path = rule.build(dict(zip(sorted(rule.arguments), values, strict=True)))[1]  # type: ignore[index]
                    with client.get(path) as answer:
                        if answer.status_code >= 500 and path != "/readyz":  # there may be no worker
                            failed[path] = answer.status_code
    return failed


def plant(redis: Redis, key: str, field: str, bomb: Bomb, protocol: int) -> None:
    data = pickle.dumps(bomb, protocol)
    redis.hset(key, field, zlib.compress(data) if field in ("data", "exc_info") and protocol else data)


def plant_everywhere(redis: Redis, bomb: Bomb) -> None:
    """Put it into each key that there is, beside what it holds, and in its place."""
    for key, protocol in product(redis.keys(), PROTOCOLS):
        data = pickle.dumps(bomb, protocol)
        match redis.type(key):
            case b"hash":
                redis.hset(key, mapping=dict.fromkeys([data, *redis.hkeys(key)], data))
            case b"list":
                redis.rpush(key, data)
            case b"set":
                redis.sadd(key, data)
            case b"zset":
                redis.zadd(key, {data: 0})
            case b"stream":
                [(_, fields)] = redis.xrevrange(key, count=1)
                redis.xadd(key, dict.fromkeys(fields, data)), redis.xadd(key, dict.fromkeys(fields, b64encode(data)))
            case b"string":
                redis.set(key, data)


def test_the_pickle_would_run_in_rq_as_it_comes(redis: Redis, tmp_path: Path) -> None:
    for protocol in PROTOCOLS:
        bomb = Bomb(tmp_path / f"exploded-{protocol}")
        job = rq.Queue(connection=redis).enqueue("os.stat", bomb)
        plant(redis, job.key, "meta", bomb, protocol)
        rq.job.Job.fetch(job.id, redis)
        assert bomb.path.exists()


def test_no_page_and_no_worker_reads_a_pickle_in_any_field_of_a_job(
    manager: JobManager, redis: Redis, apps: list[Flask], work: Callable[[], None], bomb: Bomb
) -> None:
    jobs = {manager.launch("count_words", {"text": "one"})[0].id: plan for plan in product(FIELDS, PROTOCOLS)}
    some = list(jobs)[: len(FIELDS)]
    for id in jobs:
        redis.xadd(f"{KEY}{id}", {"lines": pickle.dumps(bomb), "batch": "1", "bytes": "1"}, "1-1")
    for step in ("queued", "ended"):
        for id, (field, protocol) in jobs.items():
            plant(redis, Job.key_for(id), field, bomb, protocol)
        assert visit(apps, list(jobs)) == {}, step
        if step == "queued":
            work()
            states = {plan: redis.hget(Job.key_for(id), "status") for id, plan in jobs.items()}
            assert {plan[0] for plan, state in states.items() if state != b"finished"} == {"data"}
            unread = manager.get(next(id for id, plan in jobs.items() if plan[0] == "data")).error.cause
            assert unread == "What it should run cannot be read: it is not the JSON of a job of ours."
    for id in jobs:
        for data in (pickle.dumps(bomb), b64encode(pickle.dumps(bomb))):
            redis.xadd(f"rq:results:{id}", {"type": 1, "return_value": data, "exc_string": data, "worker_name": data})
    assert visit(apps, some) == {}
    assert manager.page().total == len(jobs)


def test_every_action_leaves_pickles_alone(manager: JobManager, redis: Redis, apps: list[Flask], bomb: Bomb) -> None:
    server, dashboard = (app.test_client() for app in apps)
    for field, protocol in product(FIELDS, PROTOCOLS):
        for client, paths in (
            (server, ("/api/jobs/{}/retry", "/api/jobs/{}/stop", "/jobs/{}/again", "/jobs/{}/delete")),
            (dashboard, ("/job/{}/requeue", "/job/{}/delete")),
        ):
            id = manager.launch("wait", {"num_iterations": 1})[0].id
            plant(redis, Job.key_for(id), field, bomb, protocol)
            redis.zadd("rq:failed:default", {id: 2_000_000_000})
            for path in paths:
                answer = client.post(path.format(id))
                assert answer.status_code < 500, (path, field, answer.text)


@pytest.mark.long
def test_a_pickle_in_each_key_is_left_alone(
    manager: JobManager, redis: Redis, apps: list[Flask], redis_url: str, files_url: str, bomb: Bomb
) -> None:
    """Jobs in all states, cron, locks, executions, workers, dependents, logs and the index are poisoned in turn."""
    environ = {"REDIS_URL": redis_url, "FILES_URL": files_url}
    with process(WORKER, **environ):
        ids = [manager.launch("count_words", {"text": text})[0].id for text in ("one", "two")]
        wait_until(lambda: manager.page().counts["finished"] == 2)
        redis.hset("rq:launchpad:cron", "wait", "1")
        running = manager.launch("wait", {"num_iterations": 60})[0].id
        wait_until(lambda: manager.get(running).state == "started")
        Job.create("launchpad.worker.runner.run", connection=redis, depends_on=running, serializer="json").save()
        redis.sadd(f"rq:job:{running}:dependents", ids[0])
        waiting = manager.launch("wait", {"num_iterations": 1})[0].id
        plant_everywhere(redis, bomb)
        visit(apps, [*ids, running, waiting])
    with process(WORKER, **environ):  # which finds the locks, the lost job and what is due
        launched = process(["flask", "launch", "wait", "--num-iterations", "1", "--follow"], **environ)
        with launched as terminal:
            wait_until(lambda: terminal.poll() is not None, 60)
    visit(apps, [*ids, running, waiting])
