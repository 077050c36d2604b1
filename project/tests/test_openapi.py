"""The document that describes the API, checked against the API itself; and its page."""

import html
import json
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from datetime import date, datetime
from enum import Enum
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import schemathesis
from flask import Flask
from hypothesis import settings as limits
from jsonschema_rs import Draft202012Validator
from pydantic import Field
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import negative_data_rejection
from werkzeug.test import TestResponse

import jobs
from helpers import free_port
from launchpad.functions.catalog import Function, collect, job
from launchpad.functions.files import UploadedFile
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


@job()
def keep(
    photo: Annotated[UploadedFile, Field(description="Of you.", json_schema_extra={"accept": ".png,image/*"})],
    others: list[UploadedFile],
    names: Annotated[list[str], Field(examples=[["it's me", "you"]])],
    note: UploadedFile | None = None,
) -> None:
    """Keep files, of which some must be given."""


@job()
def look(note: UploadedFile | None = None, times: int = 1) -> None:
    """Look at a file, which may be left out."""


FUNCTIONS = collect(sys.modules[__name__])


def application(functions: Mapping[str, Function] = FUNCTIONS, **settings: Any) -> Flask:
    """The application with a login, and with the functions of this module in place of those of jobs.py."""
    app = create_app(Settings(login_username=LOGIN[0], login_password=LOGIN[1], **settings))
    app.extensions["launchpad"].manager.functions = functions
    app.extensions["launchpad"] = replace(app.extensions["launchpad"], functions=functions)
    return app


@pytest.fixture(scope="module")
def app(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """One for all examples that schemathesis tries."""
    return application(redis_url=valkey, files_url=str(tmp_path_factory.mktemp("files")))


# The examples are the same in each run.
CONFIG = {
    "generation": {"deterministic": True, "max-examples": 100},
    "auth": {"openapi": {"login": {"username": LOGIN[0], "password": LOGIN[1]}}},
}
DOCUMENT = application().test_client().get("/api/openapi.json", auth=LOGIN).json
LAUNCH = DOCUMENT["paths"]["/api/jobs"]["post"]["requestBody"]["content"]
FORMS = {form["title"]: form for form in LAUNCH["multipart/form-data"]["schema"]["oneOf"]}


def only(function: str) -> dict[str, Any]:
    """The document, in which nothing but this function can be launched, by its form."""
    document: dict[str, Any] = deepcopy(DOCUMENT)
    content = {"multipart/form-data": {"schema": FORMS[function]}}
    document["paths"]["/api/jobs"]["post"]["requestBody"]["content"] = content
    return document


# schemathesis sends a file as one only where the body has no alternatives: so `keep` has a document of its own.
others = application({name: FUNCTIONS[name] for name in ("mix", "rest")})
others.add_url_rule("/keep.json", view_func=lambda: only("keep"))
api, keep_api = (
    schemathesis.openapi.from_wsgi(path, others, config=SchemathesisConfig.from_dict(CONFIG), auth=LOGIN)
    for path in ("/api/openapi.json", "/keep.json")
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


@keep_api.include(method="POST", path="/api/jobs").parametrize()
def test_every_answer_to_a_form_with_files_is_as_described(case: Case, app: Flask) -> None:
    case.call_and_validate(app=app, excluded_checks=excluded(case))


@api.parametrize()
def test_every_answer_is_as_described(case: Case, app: Flask) -> None:
    case.call_and_validate(app=app, excluded_checks=excluded(case))


def test_every_answer_to_what_follows_a_launch_is_as_described(app: Flask) -> None:
    class Workflow(api.as_state_machine()):
        def setup(self) -> None:
            app.extensions["launchpad"].manager.redis.flushall()

        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"app": app}

        def validate_response(self, response: Any, case: Case, **options: Any) -> None:
            case.validate_response(response, excluded_checks=excluded(case), transport_kwargs=options)

    Workflow.run(settings=limits(max_examples=30, stateful_step_count=8, derandomize=True, deadline=None))


def test_finished_and_failed_jobs_with_results_of_each_kind_are_as_described(
    settings: Settings, work: Callable[[], None]
) -> None:
    client = create_app(settings).test_client()
    other = application(redis_url=settings.redis_url, files_url=settings.files_url).test_client()
    other.post("/api/jobs", json={"function": "rest"}, auth=LOGIN)  # of which the worker does not know
    long = " ".join(letter * 150_000 for letter in "abcdefghij")
    for function, arguments in (
        ("wait", {"num_iterations": 1}),
        ("flaky", {"chance": 0}),
        ("mandelbrot", {"width": 16, "height": 16}),
        ("count_words", {"text": long}),
    ):
        assert client.post("/api/jobs", json={"function": function, "arguments": arguments}).status_code == 202
    form = {"function": "profile_csv", "file": (BytesIO(b"a,b\n1,2\n"), "some.csv")}
    id = client.post("/api/jobs", data=form, content_type="multipart/form-data").json["id"]
    work()
    listing = client.get("/api/jobs")
    assert {job["state"] for job in listing.json["jobs"]} == {"finished", "failed"}
    api["/api/jobs"]["GET"].validate_response(listing)
    job = client.get(f"/api/jobs/{id}")
    api["/api/jobs/{id}"]["GET"].validate_response(job)
    parts = [part for job in listing.json["jobs"] for part in kinds(job["result"])]
    assert sorted(parts) == ["file", "image", "json", "json", "json, cut", "table", "text"]
    for part in (job.json["result"], job.json["result"]["more"][0]):
        file = client.get(part["file"]["url"])
        assert (file.status_code, file.content_length, file.mimetype) == (200, part["file"]["size"], "text/csv")
        api["/api/jobs/{id}/files/{name}"]["GET"].validate_response(file)


def kinds(result: dict[str, Any] | None) -> list[str]:
    parts = [result, *result.get("more", [])] if result else []
    return [part["type"] + ", cut" * ("preview" in part) for part in parts]


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "json"},
        {"type": "text", "value": 1},
        {"type": "json", "value": 1, "rows": []},
        {"type": "table", "columns": [], "rows": []},
        {"type": "image", "file": {"name": "x.png"}},
        {"type": "video"},
        {"type": "json", "value": 1, "more": [{"type": "video"}]},
        {"type": "json", "value": 1, "label": 2},
    ],
)
def test_a_result_that_is_not_as_described_would_be_noticed(wrong: dict[str, Any]) -> None:
    schemas = api.raw_schema["components"]
    described = Draft202012Validator({"$ref": "#/components/schemas/Result", "components": schemas})
    assert described.is_valid({"type": "json", "value": 1, "more": [{"type": "text", "value": "a", "label": "b"}]})
    assert not described.is_valid(wrong)


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
            answer = client.open(path.format(id="x", name="y"), method=method, json={"function": "wait"})
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
    content = document["paths"]["/api/jobs"]["post"]["requestBody"]["content"]
    by_json, by_form = (
        [body["properties"]["function"]["const"] for body in content[media_type]["schema"]["oneOf"]]
        for media_type in ("application/json", "multipart/form-data")
    )
    assert by_form == ["wait", "count_words", "flaky", "mandelbrot", "profile_csv", "mix"]
    assert by_json == [name for name in by_form if name != "profile_csv"], "JSON cannot carry its file"
    assert document["security"] == [], "there is no login"


def test_a_class_that_is_called_as_one_of_ours_is_told_from_it(settings: Settings) -> None:
    class Result(Enum):
        GOOD = "good"

    def judge(result: Result) -> None: ...

    judge.__annotations__["result"] = Result
    document = application({"judge": job()(judge).job}, redis_url=settings.redis_url)  # type: ignore[attr-defined]
    schemas = document.test_client().get("/api/openapi.json", auth=LOGIN).json["components"]["schemas"]

    def named(ref: str) -> dict[str, Any]:
        return schemas[ref.rpartition("/")[2]]

    assert named(schemas["judge"]["properties"]["result"]["$ref"])["enum"] == ["good"]
    assert "oneOf" in named(schemas["Job"]["properties"]["result"]["anyOf"][0]["$ref"])


def test_files_are_described_as_parts_of_a_form_and_nowhere_in_json() -> None:
    assert FORMS["keep"]["required"] == ["function", "photo", "others", "names"]
    parts = FORMS["keep"]["properties"]
    for part in (parts["photo"], parts["others"]["items"], parts["note"]):
        assert (part["type"], part["format"]) == ("string", "binary")
    bodies = {body["title"]: body for body in LAUNCH["application/json"]["schema"]["oneOf"]}
    assert list(bodies) == ["mix", "rest", "look"]
    assert list(bodies["look"]["properties"]["arguments"]["properties"]) == ["times"]
    file = api.raw_schema["paths"]["/api/jobs/{id}/files/{name}"]["get"]["responses"]["200"]
    as_bytes = {"schema": {"type": "string", "format": "binary"}}
    assert file["content"] == {"application/octet-stream": as_bytes, "*/*": {}}, "bytes, of any media type"


def test_the_page_has_a_command_for_each_function_that_launches_it(settings: Settings, tmp_path: Path) -> None:
    client = application(redis_url=settings.redis_url, files_url=settings.files_url).test_client()
    for name in ("your.png", "your.file"):
        (tmp_path / name).write_bytes(b"data")
    page = client.get("/api/docs", auth=LOGIN).text
    commands = [shlex.split(html.unescape(text)) for text in re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)]
    for command, name in zip(commands, ["mix", "rest", "keep", "look"], strict=True):
        assert command[:4] == ["curl", "http://localhost/api/jobs", "-u", "NAME:PASSWORD"]
        launched = client.post("/api/jobs", **sent(command[4:], tmp_path), auth=LOGIN)
        assert (launched.status_code, launched.json["function"]) == (202, name), launched.text
    assert commands[2][4:] == [
        *("-F", "function=keep", "-F", "photo=@your.png", "-F", "others=@your.file"),
        *("-F", "names=it's me", "-F", "names=you"),
    ]


def sent(options: list[str], folder: Path) -> dict[str, Any]:
    """What curl sends with these options, as the test client wants it."""
    if options[0] == "-H":
        return {"json": json.loads(options[options.index("-d") + 1])}
    form: dict[str, list[Any]] = {}
    for part in options[1::2]:
        name, _, value = part.partition("=")
        form.setdefault(name, []).append((folder / value[1:]).open("rb") if value[0] == "@" else value)
    return {"data": form, "content_type": "multipart/form-data"}


def test_the_page_tells_everything_and_needs_nothing_from_elsewhere(settings: Settings) -> None:
    page = application(redis_url=settings.redis_url).test_client().get("/api/docs", auth=LOGIN).text
    for path in api.raw_schema["paths"]:
        assert f"<code>{path}</code>" in page
    assert "integer, ≥ 1, ≤ 9, required" in page
    assert "list of file, required" in page
    assert "the bytes of the file" in page
    assert "Mix &lt;i&gt;it" in page
    assert not re.search(
        r"<script(?![^>]* src=\"/static/)|<style| style=| on\w+=|(src|href)=\"(https?:)?//(?!localhost)", page
    )
