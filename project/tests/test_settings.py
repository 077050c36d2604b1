"""The settings, and who may come in."""

import time
from base64 import b64encode
from functools import partial

import pytest
from flask.testing import FlaskClient

from helpers import below, free_port
from launchpad.settings import Settings
from server import create_app


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Settings.from_environ({}) == Settings.from_environ({"REDIS_URL": "", "LOGIN_USERNAME": ""}) == Settings()


def test_the_settings_of_the_page_are_read() -> None:
    environ = {"TITLE": "Werkbank & Co", "DASHBOARD_URL": "https://jobs.example/rq/", "SCRIPT_NAME": "/our/tools"}
    settings = Settings.from_environ(environ)
    assert (settings.title, settings.dashboard_url, settings.script_name) == tuple(environ.values())


def test_how_long_a_job_may_clean_up_and_go_on_is_read() -> None:
    assert (Settings().stop_seconds, Settings().grace_seconds) == (5, 25)
    settings = Settings.from_environ({"STOP_SECONDS": "0.5", "GRACE_SECONDS": "0"})
    assert (settings.stop_seconds, settings.grace_seconds) == (0.5, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "http://:secret@redis"),
        ("REDIS_URL", "redis://:secret@redis:port"),
        ("SERVER_PORT", "http"),
        ("DASHBOARD_PORT", "70000"),
        ("MAX_QUEUED_JOBS", "-1"),
        ("MAX_UPLOAD_MB", "0"),
        ("TRUSTED_PROXIES", "yes"),
        ("TRUSTED_PROXIES", "-1"),
        ("FILES_URL", "gs://bucket"),
        ("LOGIN_PASSWORD", "secret"),
        ("DASHBOARD_URL", "monitor.example"),
        ("DASHBOARD_URL", "ftp://:secret@monitor.example/"),
        ("DASHBOARD_URL", "https:///rq"),
        ("DASHBOARD_URL", "https://[x"),
        ("STOP_SECONDS", "soon"),
        ("STOP_SECONDS", "-1"),
        ("GRACE_SECONDS", "nan"),
        ("GRACE_SECONDS", "100000"),
        ("SCRIPT_NAME", "tools"),
        ("SCRIPT_NAME", "/tools/"),
        ("SCRIPT_NAME", "/"),
        ("SCRIPT_NAME", "/to ols"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line_that_names_it(name: str, value: str) -> None:
    with pytest.raises(SystemExit) as stop:
        Settings.from_environ({name: value})
    assert name in str(stop.value)
    assert "\n" not in str(stop.value)
    assert "secret" not in str(stop.value)


def basic(login: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(login.encode()).decode()}


def test_a_login_is_asked_for_everywhere_but_at_the_health_check(settings: Settings) -> None:
    login = {"login_username": "ada", "login_password": "pass:wörd"}
    client = create_app(settings.model_copy(update=login)).test_client()
    assert client.get("/healthz").status_code == 200
    for path in ("/", "/api/jobs", "/api/functions", "/static/launchpad/style.css"):
        answer = client.get(path)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert client.get("/api/jobs").mimetype == "application/problem+json"
    assert client.get("/api/jobs", headers=basic("ada:pass:wörd")).status_code == 200
    for wrong in ("ada:pass", "eve:pass:wörd", ":", "ada"):
        assert client.get("/api/jobs", headers=basic(wrong)).status_code == 401
    assert client.get("/api/jobs", headers={"Authorization": "Bearer x"}).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"Sec-Fetch-Site": "same-origin"}, 202),
        ({"Sec-Fetch-Site": "none"}, 202),
        ({"Origin": "http://localhost"}, 202),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[x"}, 403),
        ({"Origin": "http://localhost:5555"}, 403),
    ],
)
def test_another_site_cannot_write(client: FlaskClient, headers: dict[str, str], status: int) -> None:
    answer = client.post("/api/jobs", json={"function": "wait"}, headers=headers)
    assert answer.status_code == status
    assert client.get("/api/jobs", headers=headers).status_code == 200


def test_without_redis_every_answer_is_a_503_within_two_seconds() -> None:
    client = create_app(Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0")).test_client()
    assert client.get("/healthz").status_code == 200
    assert client.get("/api/functions").status_code == 200

    def ask(method: str, path: str) -> float:
        before = time.monotonic()
        answer = client.open(path, method=method, json={"function": "wait"} if method == "POST" else None)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "Redis" in answer.text
        return time.monotonic() - before

    for method, path in (("GET", "/api/jobs"), ("POST", "/api/jobs"), ("GET", "/api/jobs/a"), ("DELETE", "/api/jobs/a"),
                         ("GET", "/readyz"), ("GET", "/")):  # fmt: skip
        below(2, partial(ask, method, path))
