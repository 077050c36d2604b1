"""The pages as the server makes them, and the parts of them that they ask for again and again."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from flask import Flask, render_template_string
from flask.testing import FlaskClient
from redis import Redis
from werkzeug.test import TestResponse

from helpers import date_back, wait_until
from launchpad.queue.manager import JobManager
from launchpad.settings import Settings
from launchpad.web.formatting import AGE_STEP_SECONDS, time_ago
from server import create_app


def launch(manager: JobManager) -> str:
    id: str = manager.launch("wait", {"num_iterations": 60})[0].id
    return id


@pytest.mark.parametrize("path", ["/fragments/jobs", "/fragments/jobs/{}"])
def test_who_has_it_already_is_told_that_nothing_has_changed(
    client: FlaskClient, manager: JobManager, path: str
) -> None:
    id = launch(manager)
    path = path.format(id)

    def ask(etag: str = "") -> TestResponse:
        return client.get(path, headers={"If-None-Match": etag})

    wait_until(lambda: ask(ask().headers["ETag"]).status_code == 304)  # unless ten seconds were just over
    etag = ask().headers["ETag"]
    manager.stop(id)
    assert ask(etag).status_code == 200
    manager.delete(id)
    assert ask(etag).status_code == (200 if path == "/fragments/jobs" else 404)


def test_a_page_has_the_title_and_the_monitor_that_the_settings_name(settings: Settings) -> None:
    def pages(**changed: str) -> list[str]:
        app = create_app(settings.model_copy(update=changed))
        paths = ("/", "/launch/wait", "/api/docs", "/nowhere")
        found = [app.test_client().get(path, headers={"Host": "example.org:5000"}).text for path in paths]
        app.extensions["launchpad"].manager.redis.close()
        return found

    for page in pages():
        assert "· Launchpad</title>" in page
        assert 'href="http://example.org:5555/"' in page
    for page in pages(title="Tools & <more>", dashboard_url="https://monitor.example.org/rq"):
        assert "· Tools &amp; &lt;more&gt;</title>" in page
        assert "Launchpad" not in page
        assert 'href="https://monitor.example.org/rq"' in page


def test_templates_of_the_app_itself_are_given_nothing_of_ours(app: Flask, client: FlaskClient) -> None:
    given = "{{ fmt is defined }} {{ icon is defined }} {{ states is defined }} {{ KEY is defined }}"
    app.add_url_rule("/own", "own", lambda: render_template_string(given))
    assert client.get("/own").text == "False False False False"
    assert app.jinja_env.filters.keys() == Flask("bare").jinja_env.filters.keys()


def test_a_list_that_is_quiet_keeps_its_etag(client: FlaskClient, manager: JobManager, redis: Redis) -> None:
    date_back(redis, [launch(manager) for _ in range(20)])
    etags = set()
    for _ in range(20):
        manager.redis.publish("rq:pubsub:launchpad", "")  # so that it is made anew
        etags.add(client.get("/fragments/jobs").headers["ETag"])
    assert len(etags) == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "just now"), (0, "just now"), (20, "20 s ago"), (70, "1 min ago"), (7200, "2 h ago"), (200_000, "2 d ago")],
)
def test_an_age_is_told_in_its_largest_unit(seconds: int, words: str) -> None:
    now = datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert time_ago(now - timedelta(seconds=seconds), now) == words


def test_all_ages_go_on_in_the_same_steps() -> None:
    start = datetime(2026, 11, 22, 10, tzinfo=UTC)
    moments = [start + timedelta(seconds=tenth / 10) for tenth in range(600)]
    times = [start - timedelta(seconds=second) for second in range(0, 100, 7)]
    changes = {
        second
        for time in times
        for second, (before, after) in enumerate(pairwise(moments), 1)
        if time_ago(time, before) != time_ago(time, after)
    }
    assert changes <= set(range(0, 600, 10 * AGE_STEP_SECONDS))
    assert len(changes) == 5


def test_a_page_that_is_no_longer_there_is_the_last_one(client: FlaskClient, manager: JobManager) -> None:
    launch(manager)
    assert client.get("/fragments/jobs?page=3").data == client.get("/fragments/jobs").data
    assert client.get("/?page=3").location == "/?page=1"


def test_errors_are_problems_for_the_script(client: FlaskClient) -> None:
    for path in ("/fragments/jobs?state=odd", "/fragments/jobs/none", "/fragments/none"):
        answer = client.get(path)
        assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")
