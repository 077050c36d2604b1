"""Ten thousand requests that nobody has thought of, and no 5xx; with FAULTS=full all of them, otherwise some."""

import os
from typing import Any

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.config import SchemathesisConfig

import dashboard
import server
from launchpad.settings import Settings

FULL = os.environ.get("FAULTS") == "full"
CONFIG = {"generation": {"deterministic": not FULL, "max-examples": 400 if FULL else 10}}  # for each operation
api = schemathesis.openapi.from_wsgi(
    "/api/openapi.json", server.create_app(Settings()), config=SchemathesisConfig.from_dict(CONFIG)
)


@pytest.fixture(scope="module")
def apps(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> list[Flask]:
    chosen = Settings(redis_url=valkey, files_url=str(tmp_path_factory.mktemp("files")))
    return [server.create_app(chosen), dashboard.create_app(chosen)]


@api.parametrize()
def test_no_request_that_is_described_is_answered_with_5xx(case: Case, apps: list[Flask]) -> None:
    answer = case.call(app=apps[0])
    assert answer.status_code < 500 or case.path == "/readyz"  # there is no worker


anything = st.text(st.characters(codec=None), max_size=30) | st.sampled_from(
    ["wait", "count_words", "profile_csv", "default", "queued", "0", "1", "asc", "x" * 9999, "..", "\0"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | anything,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(anything, inner, max_size=4),
)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request to a path that exists, with anything in it."""
    names = [
        "function",
        "arguments",
        "id",
        "state",
        "q",
        "page",
        "action",
        "all",
        "before",
        "num_iterations",
        "text",
        "from",
    ]
    fields = st.dictionaries(st.sampled_from(names) | anything, anything, max_size=5)
    kind = draw(st.sampled_from(["json", "form", "multipart", "bytes"]))
    request: dict[str, Any] = {
        "method": draw(st.sampled_from(["GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS"])),
        "query_string": {k.encode("utf-8", "replace"): v.encode("utf-8", "replace") for k, v in draw(fields).items()},
    }
    match kind:
        case "json":
            request["json"] = (
                {"function": draw(anything), "arguments": draw(values)} if draw(st.booleans()) else draw(values)
            )
        case "form" | "multipart":
            request["data"] = {
                k.encode("utf-8", "replace").decode(): v.encode("utf-8", "replace").decode()
                for k, v in draw(fields).items()
            }
            request["content_type"] = {"form": "application/x-www-form-urlencoded", "multipart": "multipart/form-data"}[
                kind
            ]
        case "bytes":
            request["data"] = draw(st.binary(max_size=100))
            request["content_type"] = draw(
                st.sampled_from(["application/json", "multipart/form-data; boundary=b", "text/plain", ";"])
            )
    return request


@settings(
    max_examples=10_000 if FULL else 150,
    derandomize=not FULL,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.data())
def test_no_other_request_is_answered_with_5xx(apps: list[Flask], data: st.DataObject) -> None:
    app = data.draw(st.sampled_from(apps))
    rule = data.draw(st.sampled_from(sorted(app.url_map.iter_rules(), key=str)))
    path = str(rule)
    for name in rule.arguments:
        path = path.replace(
            f"<{name}>", "".join(f"%{byte:02x}" for byte in data.draw(anything).encode("utf-8", "replace")) or "x"
        )
    with app.test_client().open(path, **data.draw(requests())) as answer:
        assert answer.status_code < 500 or path == "/readyz", (path, answer.text)
