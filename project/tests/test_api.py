"""The JSON API, as the contract has it."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis
from rq.job import JobStatus
from rq.results import Result
from werkzeug.test import TestResponse

import jobs
from helpers import wait_until
from launchpad import Launchpad
from launchpad.queue.job import Job
from launchpad.queue.manager import JobManager
from launchpad.queue.states import STATES
from launchpad.settings import Settings

TEXT = "\n".join(topics.values())


def launch(client: FlaskClient, function: str = "wait", key: str | None = None, **arguments: Any) -> TestResponse:
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/api/jobs", json={"function": function, "arguments": arguments}, headers=headers)


def test_a_launched_job_runs_to_its_result(client: FlaskClient, work: Callable[[], None]) -> None:
    answer = launch(client, num_iterations=1)
    assert answer.status_code == 202
    job = answer.json
    assert answer.headers["Location"] == f"/api/jobs/{job['id']}"
    assert (job["state"], job["position"], job["result"]) == ("queued", 1, None)

    work()

    job = client.get(answer.headers["Location"]).json
    assert (job["state"], job["result"], job["attempt"]) == ("finished", {"type": "json", "value": 1}, 1)
    assert job["progress"].keys() >= {"done", "total", "percent", "message", "rate", "eta"}
    assert [job["progress"][name] for name in ("done", "total", "percent", "eta")] == [1, 1, 100.0, 0.0]
    assert job["created_at"] <= job["started_at"] <= job["ended_at"] < job["expires_at"]
    assert job["created_at"].endswith("+00:00")
    assert job.keys() == {
        "id", "function", "arguments", "state", "progress", "position", "result", "error", "attempt", "worker",
        "queue",
        "stopping", "usage",
        "created_at", "scheduled_at", "starts_at", "started_at", "ended_at", "expires_at",
    }  # fmt: skip


def test_a_running_job_shows_its_progress(client: FlaskClient, worker: subprocess.Popen[bytes]) -> None:
    url = launch(client, num_iterations=3).headers["Location"]

    def half_way() -> Any:
        progress = client.get(url).json["progress"]
        return progress and 0 < progress["done"] < 3 and progress

    progress = wait_until(half_way)
    assert (progress["total"], progress["rate"]) == (3, pytest.approx(1, rel=0.5))
    assert progress["percent"] == pytest.approx(100 * progress["done"] / 3, abs=0.1)
    assert progress["eta"] == pytest.approx(3 - progress["done"], rel=1)


def test_the_words_of_a_real_text_are_counted(client: FlaskClient, work: Callable[[], None]) -> None:
    assert len(TEXT) > 400_000
    url = launch(client, "count_words", text=TEXT).headers["Location"]
    work()
    job = client.get(url).json
    assert len(job["result"]["value"]) == 10
    assert max(job["result"]["value"], key=job["result"]["value"].get) == "the"
    assert job["progress"]["total"] == len(TEXT.splitlines())
    assert job["arguments"]["text"] == TEXT, "one job is answered whole"
    assert len(client.get("/api/jobs").json["jobs"][0]["arguments"]["text"]) < 300, "a list is not"


def test_the_functions_are_described(client: FlaskClient) -> None:
    wait = client.get("/api/functions").json["functions"][0]
    assert wait.keys() == {"name", "title", "description", "parameters", "timeout", "retries"}
    assert wait["name"] == "wait"
    assert wait["parameters"]["properties"]["num_iterations"]["maximum"] == 3600


def test_a_repeated_key_gives_the_same_job(client: FlaskClient) -> None:
    first, again = launch(client, key="k"), launch(client, key="k")
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json["id"] == again.json["id"]
    assert launch(client, key="another").json["id"] != first.json["id"]
    assert client.get("/api/jobs").json["total"] == 2


def test_jobs_are_listed_newest_first_in_pages(client: FlaskClient) -> None:
    ids = [launch(client).json["id"] for _ in range(5)][::-1]
    listing = client.get("/api/jobs?per_page=2&page=2").json
    assert [job["id"] for job in listing["jobs"]] == ids[2:4]
    assert (listing["page"], listing["pages"], listing["total"]) == (2, 3, 5)
    assert listing["workers"] == {"total": 0, "busy": 0}
    assert listing["counts"]["queued"] == 5
    assert set(listing["counts"]) == set(STATES)
    assert client.get("/api/jobs?state=failed").json["jobs"] == []
    assert client.get("/api/jobs?function=wait&state=queued").json["total"] == 5
    assert client.get("/api/jobs?function=count_words").json["total"] == 0


def test_some_jobs_are_asked_for_by_id_and_unknown_ids_are_left_out(client: FlaskClient, redis: Redis) -> None:
    first, _, third = [launch(client).json["id"] for _ in range(3)]
    listing = client.get(f"/api/jobs?id={third}&id=unknown&id={first}&id=a:b&id=").json
    assert [job["id"] for job in listing["jobs"]] == [third, first]
    assert listing["total"] == 2
    assert listing["counts"]["queued"] == 3
    redis.sadd(f"rq:job:{first}:dependents", "x")
    assert client.get(f"/api/jobs?id={first}:dependents").json["jobs"] == []
    assert client.get("/api/jobs?function=wait:queued").json["jobs"] == []


def test_a_deleted_job_is_gone(client: FlaskClient, redis: Redis) -> None:
    url = launch(client).headers["Location"]
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404
    assert client.delete(url).status_code == 404
    assert client.get("/api/jobs").json["total"] == 0
    assert [key for key in redis.scan_iter() if key != b"rq:queues"] == []


@pytest.mark.parametrize("value", [-1, 0, "abc", 1e9, 3601, 2.5, "3", True, None, [], {}, 10**30])
def test_wrong_arguments_are_named(client: FlaskClient, value: Any) -> None:
    answer = launch(client, num_iterations=value)
    assert answer.status_code == 422
    assert answer.mimetype == "application/problem+json"
    assert answer.json.keys() == {"type", "title", "status", "detail", "errors"}
    assert answer.json["errors"][0]["loc"] == ["num_iterations"]
    assert client.get("/api/jobs").json["total"] == 0


def test_missing_and_unknown_arguments_are_named(client: FlaskClient) -> None:
    assert launch(client, "count_words").json["errors"] == [{"loc": ["text"], "msg": "Field required"}]
    assert launch(client, seconds=3).json["errors"][0]["loc"] == ["seconds"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"arguments": {}}', 400),
        (b'{"function": 3}', 400),
        (b'{"function": "wait", "arguments": []}', 400),
        (b'{"function": "wait", "argument": {}}', 400),
        (b'{"function": "wait", "arguments": {"num_iterations": NaN}}', 400),
        (b"[" * 100_000, 400),
        (b"1" * 5000, 400),
        (b'"\xff"', 400),
        (b'{"function": "nothing"}', 404),
        (b'{"function": "collect"}', 404),
        (b'{"function": "\\ud800"}', 404),
        (b'{"function": "count_words", "arguments": {"text": "\\ud800"}}', 422),
        (b'{"function": "wait"}', 202),
    ],
)
def test_a_body_that_cannot_be_understood_is_refused(client: FlaskClient, body: bytes, status: int) -> None:
    answer = client.post("/api/jobs", data=body, content_type="application/json")
    assert answer.status_code == status
    assert (answer.json["status"] if status >= 400 else 202) == status


def test_a_body_of_another_type_is_refused(client: FlaskClient) -> None:
    assert client.post("/api/jobs", data=b"wait", content_type="text/plain").status_code == 415
    assert client.post("/api/jobs").status_code == 400


def test_arguments_may_come_as_a_form(client: FlaskClient) -> None:
    form = {"function": "wait", "num_iterations": "7"}
    answer = client.post("/api/jobs", data=form, content_type="multipart/form-data")
    assert answer.status_code == 202
    assert answer.json["arguments"] == {"num_iterations": 7}
    wrong = client.post("/api/jobs", data=form | {"num_iterations": "x"}, content_type="multipart/form-data")
    assert wrong.status_code == 422


def test_a_text_of_100_mb_is_refused(client: FlaskClient, redis: Redis) -> None:
    body = json.dumps({"function": "count_words", "arguments": {"text": "x" * 100_000_000}})
    answer = client.post("/api/jobs", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["status"]) == (413, 413)
    assert launch(client, "count_words", text="x" * 2_000_001).status_code == 422


def test_a_body_of_unknown_length_is_read_up_to_the_limit(live_server: str) -> None:
    def body() -> Iterator[bytes]:
        yield b'{"function": "count_words", "arguments": {"text": "'
        for _ in range(40):
            yield b"x" * 1024 * 1024

    server = HTTPConnection(live_server.removeprefix("http://"), timeout=10)
    with suppress(ConnectionError):  # it need not listen to the end
        server.request("POST", "/api/jobs", body(), {"Content-Type": "application/json"}, encode_chunked=True)
    assert server.getresponse().status == 413
    server.close()


@pytest.mark.parametrize(
    "query", ["state=lost", "page=0", "page=-1", "page=x", "page=²", "per_page=100000", "page=1e3"]
)
def test_a_query_that_cannot_be_understood_is_refused(client: FlaskClient, query: str) -> None:
    answer = client.get(f"/api/jobs?{query}")
    assert (answer.status_code, answer.mimetype) == (400, "application/problem+json")


@pytest.mark.parametrize("id", ["unknown", "a:b", "%00", "é", "x" * 1000, "default"])
def test_an_unknown_job_is_404(client: FlaskClient, id: str) -> None:
    for answer in (
        client.get(f"/api/jobs/{id}"),
        client.delete(f"/api/jobs/{id}"),
        client.post(f"/api/jobs/{id}/stop"),
        client.post(f"/api/jobs/{id}/retry"),
    ):
        assert (answer.status_code, answer.json["status"]) == (404, 404)


def test_a_wrong_method_is_405_and_changes_nothing(client: FlaskClient) -> None:
    url = launch(client).headers["Location"]
    for path in (f"{url}/stop", f"{url}/retry"):
        answer = client.get(path)
        assert (answer.status_code, answer.mimetype) == (405, "application/problem+json")
        assert "POST" in answer.headers["Allow"]
    assert client.put(url).status_code == 405
    assert client.get(url).json["state"] == "queued"


def test_ready_means_redis_and_a_worker(client: FlaskClient, worker: subprocess.Popen[bytes]) -> None:
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").json == {"redis": "ok", "workers": 1}
    lines = client.get("/metrics").text.splitlines()
    assert {'launchpad_jobs{state="queued"} 0', 'launchpad_workers{state="idle"} 1'} <= {*lines}
    worker.kill()
    answer = wait_until(lambda: (answer := client.get("/readyz")).status_code == 503 and answer)
    assert answer.json["detail"] == "No worker is running."


def test_a_launch_may_carry_a_time(client: FlaskClient) -> None:
    body = {"function": "wait", "scheduled_at": "2036-01-01T00:00:00+01:00"}
    job = client.post("/api/jobs", json=body).json
    assert (job["state"], job["scheduled_at"]) == ("scheduled", "2035-12-31T23:00:00+00:00")
    naive = client.post(
        "/api/jobs", data=body | {"scheduled_at": "2036-01-01T00:00"}, content_type="multipart/form-data"
    )
    assert naive.json["scheduled_at"] == "2036-01-01T00:00:00+00:00"
    assert client.post(f"/api/jobs/{job['id']}/stop").json["state"] == "canceled"
    for wrong, status in (("soon", 422), ("0001-01-01T00:00:00+14:00", 422), (3, 400), ([], 400)):
        assert client.post("/api/jobs", json=body | {"scheduled_at": wrong}).status_code == status
    answer = client.post("/api/jobs", json=body | {"scheduled_at": "soon"})
    assert answer.json["errors"][0]["loc"] == ["scheduled_at"]
    assert client.get("/api/jobs").json["total"] == 2


def test_jobs_are_searched(client: FlaskClient) -> None:
    launch(client, num_iterations=7), launch(client, num_iterations=8)
    assert [job["arguments"]["num_iterations"] for job in client.get("/api/jobs?q=7").json["jobs"]] == [7]


def test_what_has_not_changed_is_not_sent_again(client: FlaskClient, manager: JobManager) -> None:
    id = launch(client, num_iterations=1).json["id"]
    for path in ("/api/jobs", f"/api/jobs?id={id}", f"/api/jobs/{id}", "/api/functions"):
        tag = client.get(path).headers["ETag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}'):
            again = client.get(path, headers={"If-None-Match": known})
            assert (again.status_code, again.data) == (304, b"")
    manager.delete(id)
    assert client.get("/api/jobs", headers={"If-None-Match": tag}).status_code == 200


FILE = {"name": "Übersicht 1.txt", "size": 3, "media_type": "text/plain"}


def finished_with(manager: JobManager, file: dict[str, Any]) -> str:
    """A job that has returned a file, as it stands in Redis."""
    job = Job.fetch(manager.launch("wait", {})[0].id, manager.redis)
    value = {"type": "json", "value": 1, "more": [{"type": "file", "file": file}]}
    job.set_status(JobStatus.FINISHED)
    Result.create(job, Result.Type.SUCCESSFUL, 500, return_value=value)
    (Path(manager.files.at(job.id)[1]) / "out").mkdir(parents=True)
    (Path(manager.files.at(job.id)[1]) / "out" / file["name"]).write_text("abc")
    return job.id


@pytest.mark.parametrize("file", [FILE, FILE | {"url": "/api/jobs/elsewhere/files/Übersicht 1.txt"}])
def test_the_address_of_a_file_is_that_of_the_request(
    app: Flask, settings: Settings, manager: JobManager, file: dict[str, Any]
) -> None:
    id = finished_with(manager, file)
    below = Flask("below")
    Launchpad(below, jobs, url_prefix="/tools/", settings=settings.model_copy(update={"trusted_proxies": 1}))
    forwarded = {"X-Forwarded-Prefix": "/outer"}
    for application, path, options, root in (
        (app, "", {}, ""),
        (app, "", {"environ_overrides": {"SCRIPT_NAME": "/outer"}}, "/outer"),
        (below, "/tools", {}, "/tools"),
        (below, "/tools", {"headers": forwarded}, "/outer/tools"),
        (below, "/tools", {}, "/tools"),  # what was answered before is kept, but not for this one
    ):
        client = application.test_client()
        url = f"{root}/api/jobs/{id}/files/%C3%9Cbersicht%201.txt"
        job = client.get(f"{path}/api/jobs/{id}", **options).json
        [listed] = client.get(f"{path}/api/jobs?id={id}", **options).json["jobs"]
        for result in (job["result"], listed["result"]):
            assert result["more"][0]["file"] == FILE | {"url": url}
        assert f'href="{url}"' in client.get(f"{path}/jobs/{id}", **options).text
        assert client.get(url.removeprefix("/outer"), **options).text == "abc"
    below.extensions["launchpad"].manager.redis.close()
