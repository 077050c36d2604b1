"""The document that describes the API, checked against the API itself; and its page."""

import html
import json
import re
import shlex
import sys
from collections.abc import Callable
from datetime import date, datetime
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
import schemathesis
from flask import Flask
from hypothesis import settings as limits
from pydantic import Field
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import negative_data_rejection
from werkzeug.test import TestResponse

import jobs
from helpers import free_port
from launchpad.catalog import collect, job
from launchpad.settings import Settings
from server import create_app

LOGIN = ("ada", "secret")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@job()
def mix(
    count: Annotated[int, Field(ge=1, le=9, description="How many.")],
    share: Annotated[float, Field(gt=0, le=1)],
    name: Annotated[str, Field(max_length=20)],
    day: date,
    at: datetime,
    size: Literal["S", "M", 3],
    colour: Colour,
    tags: list[str],
    colours: list[Colour],
    loud: bool = False,
    limit: int | None = None,
    note: str | None = "it's <b>",
) -> None:
    """Mix <i>it</i>."""


@job()
def rest() -> None: ...


def application(**settings: Any) -> Flask:
    """The application with a login, and with the functions of this module in place of those of jobs.py."""
    app = create_app(Settings(login_username=LOGIN[0], login_password=LOGIN[1], **settings))
    app.extensions["board"].functions = collect(sys.modules[__name__])
    return app


@pytest.fixture(scope="module")
def app(valkey: str) -> Flask:
    """One for all examples that schemathesis tries."""
    return application(redis_url=valkey)


# The examples are the same in each run.
CONFIG = {
    "generation": {"deterministic": True, "max-examples": 100},
    "auth": {"openapi": {"login": {"username": LOGIN[0], "password": LOGIN[1]}}},
}
api = schemathesis.openapi.from_wsgi(
    "/api/openapi.json", application(), config=SchemathesisConfig.from_dict(CONFIG), auth=LOGIN
)


def excluded(case: Case) -> list[Any]:
    """The checks that a case need not pass."""
    checks: list[Any] = []
    if case.path == "/readyz":  # there is no worker
        checks.append(not_a_server_error)
    if case.media_type == "multipart/form-data":  # everything is text there: much that is wrong as JSON is right
        checks.append(negative_data_rejection)
    return checks


def test_the_document_is_valid() -> None:
    api.validate()


@api.parametrize()
def test_every_answer_is_as_described(case: Case, app: Flask) -> None:
    case.call_and_validate(app=app, excluded_checks=excluded(case))


def test_every_answer_to_what_follows_a_launch_is_as_described(app: Flask) -> None:
    class Workflow(api.as_state_machine()):
        def setup(self) -> None:
            app.extensions["board"].redis.flushall()

        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"app": app}

        def validate_response(self, response: Any, case: Case, **options: Any) -> None:
            case.validate_response(response, excluded_checks=excluded(case), transport_kwargs=options)

    Workflow.run(settings=limits(max_examples=30, stateful_step_count=8, derandomize=True, deadline=None))


def test_finished_and_failed_jobs_are_as_described(settings: Settings, work: Callable[[], None]) -> None:
    client, other = create_app(settings).test_client(), application(redis_url=settings.redis_url).test_client()
    client.post("/api/jobs", json={"function": "wait", "arguments": {"num_iterations": 1}})
    other.post("/api/jobs", json={"function": "rest"}, auth=LOGIN)  # of which the worker does not know
    work()
    listing = client.get("/api/jobs")
    assert {job["state"] for job in listing.json["jobs"]} == {"finished", "failed"}
    api["/api/jobs"]["GET"].validate_response(listing)


def check(path: str, method: str, answer: TestResponse) -> None:
    described = api.raw_schema["paths"][path][method]["responses"][str(answer.status_code)]
    assert described.get("headers", {}).keys() <= set(answer.headers.keys())
    api[path][method].validate_response(answer)


def test_errors_with_a_cause_outside_of_the_arguments_are_as_described(settings: Settings) -> None:
    client = create_app(settings.model_copy(update={"max_queued_jobs": 1})).test_client()
    launch = {"path": "/api/jobs", "method": "POST", "json": {"function": "wait"}}
    for request, status in (
        (launch, 202),
        (launch, 429),
        (launch | {"headers": {"Origin": "http://elsewhere.example"}}, 403),
        (launch | {"json": {"function": "count_words", "arguments": {"text": "x" * 17_000_000}}}, 413),
    ):
        answer = client.open(**request)
        assert answer.status_code == status
        check("/api/jobs", "post", answer)


def test_what_is_said_when_redis_cannot_be_reached_is_as_described() -> None:
    client = create_app(Settings(redis_url=f"redis://127.0.0.1:{free_port()}")).test_client()
    said = set()
    for path, methods in api.raw_schema["paths"].items():
        for method in methods:
            answer = client.open(path.format(id="x"), method=method, json={"function": "wait"})
            check(path, method, answer)
            said.add((answer.status_code, path))
    assert {path for status, path in said if status != 503} == {"/api/functions", "/healthz"}


def test_a_new_function_is_described_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "mix", mix, raising=False)
    document = create_app(Settings()).test_client().get("/api/openapi.json").json
    schemas = document["components"]["schemas"]
    assert {"wait", "count_words", "mix", "Colour"} <= schemas.keys()
    assert len(schemas["mix"]["properties"]) == 12
    assert schemas["mix"]["properties"]["count"] == {
        "type": "integer", "minimum": 1, "maximum": 9, "description": "How many.", "title": "Count",
    }  # fmt: skip
    bodies = document["paths"]["/api/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert [body["properties"]["function"]["const"] for body in bodies] == ["wait", "count_words", "mix"]
    assert document["security"] == [], "there is no login"


def test_the_page_has_a_command_for_each_function_that_launches_it(settings: Settings) -> None:
    client = application(redis_url=settings.redis_url).test_client()
    page = client.get("/api/docs", auth=LOGIN).text
    commands = [shlex.split(html.unescape(text)) for text in re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)]
    bodies = [json.loads(command[command.index("-d") + 1]) for command in commands]
    assert [body["function"] for body in bodies] == ["mix", "rest"]
    for command, body in zip(commands, bodies, strict=True):
        assert command[:4] == ["curl", "http://localhost/api/jobs", "-u", "NAME:PASSWORD"]
        assert client.post("/api/jobs", json=body, auth=LOGIN).status_code == 202


def test_the_page_tells_everything_and_needs_nothing_from_elsewhere(settings: Settings) -> None:
    page = application(redis_url=settings.redis_url).test_client().get("/api/docs", auth=LOGIN).text
    for path in api.raw_schema["paths"]:
        assert f"<code>{path}</code>" in page
    assert "integer, ≥ 1, ≤ 9, required" in page
    assert "Mix &lt;i&gt;it" in page
    assert not re.search(
        r"<script(?![^>]* src=\"/static/)|<style| style=| on\w+=|(src|href)=\"(https?:)?//(?!localhost)", page
    )
