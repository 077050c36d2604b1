"""Below a path: `url_prefix`, a proxy that tells it in X-Forwarded-Prefix, and SCRIPT_NAME.

browser/test_below_a_path.py uses the pages, behind a real nginx.
"""

import re
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
from flask import Flask
from flask.testing import FlaskClient

from launchpad import Launchpad, job
from launchpad.settings import Settings

HEADER = {"X-Forwarded-Prefix": "/tools"}
Make = Callable[..., FlaskClient]


@pytest.fixture
def make(settings: Settings) -> Iterator[Make]:
    """An app with one function: its client."""
    apps = []

    def make(url_prefix: str = "", **changes: object) -> FlaskClient:
        def add(a: int, b: int = 1) -> int:
            """Add two numbers."""
            return a + b

        jobs = ModuleType("jobs")
        jobs.__dict__["add"] = job()(add)
        apps.append(Flask("owner"))
        Launchpad(apps[-1], jobs, url_prefix=url_prefix, settings=settings.model_copy(update=changes))
        return apps[-1].test_client()

    yield make
    for app in apps:
        app.extensions["launchpad"].manager.redis.close()


# How the app is put below /tools, what a request then carries, and the path that the server is asked for.
WAYS = {
    "url_prefix": ({"url_prefix": "/tools"}, {}, "/tools"),
    "X-Forwarded-Prefix": ({"trusted_proxies": 1}, HEADER, ""),
    "SCRIPT_NAME": ({"script_name": "/tools"}, {}, "/tools"),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_address_on_every_page_is_below_the_prefix(make: Make, way: str) -> None:
    changes, headers, path = WAYS[way]
    client = make(**changes)
    launched = client.post(f"{path}/api/jobs", json={"function": "add", "arguments": {"a": 1}}, headers=headers)
    assert launched.headers["Location"] == f"/tools/api/jobs/{launched.json['id']}"
    for page in ("/", "/launch/add", f"/jobs/{launched.json['id']}", "/api/docs", "/jobs/nothing"):
        text = client.get(path + page, headers=headers).text
        addresses = re.findall(r'(?:href|src|action|data-\w+)="(/[^"]*)"', text)
        assert len(addresses) > 5, page
        assert not [address for address in addresses if not address.startswith("/tools/")], page
    form = client.post(f"{path}/launch/add", data={"a": "1"}, headers=headers)
    assert form.headers["Location"].startswith("/tools/jobs/")


@pytest.mark.parametrize("way", WAYS)
def test_the_document_says_where_the_api_is(make: Make, way: str) -> None:
    changes, headers, path = WAYS[way]
    document = make(**changes).get(f"{path}/api/openapi.json", headers=headers).json
    [server] = {item["url"].rstrip("/") for item in document.get("servers", [{"url": ""}])}
    assert {server + address for address in document["paths"]} >= {"/tools/api/jobs", "/tools/healthz"}


def test_a_prefix_of_a_proxy_counts_only_if_it_is_trusted(make: Make) -> None:
    assert 'href="/tools' not in make().get("/", headers=HEADER).text


def test_answers_for_one_prefix_are_not_given_to_another(make: Make) -> None:
    client = make(trusted_proxies=1)
    for prefix in ("/tools", "/other", "/tools"):
        text = client.get("/", headers={"X-Forwarded-Prefix": prefix}).text
        assert set(re.findall(r'href="(/\w+)/', text)) == {prefix}


@pytest.mark.parametrize("prefix", ["", "/tools"])
def test_the_health_check_of_the_container_needs_no_prefix(make: Make, prefix: str) -> None:
    client = make(prefix, login_username="ada", login_password="engine")
    for path in {"/healthz", f"{prefix}/healthz"}:
        assert client.get(path).json == {"server": "ok"}
    assert client.get("/readyz").status_code == (404 if prefix else 401)


def test_a_health_check_of_the_owner_wins(make: Make) -> None:
    client = make("/tools")
    client.application.add_url_rule("/healthz", "mine", lambda: "Mine")
    assert client.get("/healthz").text == "Mine"


def test_a_path_that_only_begins_like_script_name_is_another_one(make: Make) -> None:
    client = make(script_name="/tools")
    assert client.get("/tools").headers["Location"].endswith("/tools/")
    assert client.get("/tools/healthz").status_code == 200
    assert client.get("/toolsandmore/healthz").status_code == 404
