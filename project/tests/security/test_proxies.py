"""X-Forwarded-*: nobody's word is taken, unless TRUSTED_PROXIES says so; then addresses are those of the browser."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse

import pytest
from flask.testing import FlaskClient

from helpers import answers, free_port, process, wait_until
from launchpad.settings import Settings
from server import create_app

# What a proxy with TLS tells of a browser that has asked for https://jobs.example.
TOLD = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "jobs.example"}
ORIGIN = {"Origin": "https://jobs.example"}  # of its forms, in a browser that knows no Sec-Fetch-Site


@contextmanager
def trusting(settings: Settings, proxies: int) -> Iterator[FlaskClient]:
    app = create_app(settings.model_copy(update={"trusted_proxies": proxies}))
    yield app.test_client()
    app.extensions["launchpad"].manager.redis.close()


def addresses(page: str) -> set[str]:
    """What the page says of where it is."""
    return set(re.findall(r"https?://[\w.:]+?(?=:5555/)", page))


def test_by_default_no_header_is_trusted(settings: Settings) -> None:
    with trusting(settings, 0) as client:
        assert addresses(client.get("/", headers=TOLD).text) == {"http://localhost"}
        assert client.post("/api/jobs", json={"function": "wait"}, headers=TOLD | ORIGIN).status_code == 403
        spoofed = {"X-Forwarded-Host": "evil.example", "Origin": "http://evil.example"}
        assert client.post("/api/jobs", json={"function": "wait"}, headers=spoofed).status_code == 403


def test_behind_a_proxy_that_is_trusted_addresses_writes_and_redirects_are_right(settings: Settings) -> None:
    with trusting(settings, 1) as client:
        assert addresses(client.get("/", headers=TOLD).text) == {"https://jobs.example"}
        assert client.post("/launch/wait", headers=TOLD | ORIGIN).headers["Location"].startswith("/jobs/")
        launched = client.post("/api/jobs", json={"function": "wait"}, headers=TOLD | ORIGIN)
        assert launched.headers["Location"] == f"/api/jobs/{launched.json['id']}"
        for other in ("https://evil.example", "https://localhost", "null"):
            answer = client.post("/api/jobs", json={"function": "wait"}, headers=TOLD | {"Origin": other})
            assert answer.status_code == 403


def test_only_as_many_proxies_are_trusted_as_there_are(settings: Settings) -> None:
    told = {"X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "evil.example, jobs.example"}
    with trusting(settings, 1) as client:  # the browser itself has sent the first ones
        assert addresses(client.get("/", headers=told).text) == {"http://jobs.example"}
    with trusting(settings, 2) as client:
        assert addresses(client.get("/", headers=told).text) == {"https://evil.example"}
        assert addresses(client.get("/", headers=TOLD).text) == {"http://localhost"}, "one of the two has not told"


def test_a_proxy_that_passes_the_host_on_needs_no_trust_for_writes(settings: Settings) -> None:
    with trusting(settings, 0) as client:
        answer = client.post("/launch/wait", headers={"Host": "jobs.example"} | ORIGIN)
        assert (answer.status_code, answer.headers["Location"][:6]) == (303, "/jobs/")


@pytest.mark.long
@pytest.mark.parametrize("proxies", ["0", "1"])
@pytest.mark.parametrize("name", ["server", "dashboard"])
def test_gunicorn_hands_the_headers_over_and_believes_none_itself(redis_url: str, proxies: str, name: str) -> None:
    port = free_port()
    command = ["gunicorn", "--bind", f"127.0.0.1:{port}", f"{name}:create_app()"]
    with process(command, REDIS_URL=redis_url, TRUSTED_PROXIES=proxies):
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"))
        write = "/api/jobs" if name == "server" else "/queue/default/compact"
        refused = ask(port, "POST", write, TOLD | ORIGIN | {"SCRIPT_NAME": "/x", "X-Forwarded-Prefix": "/x"})
        assert (refused == 403) == (proxies == "0")
        assert ask(port, "POST", write, {"Origin": f"http://127.0.0.1:{port}"}) != 403


def ask(port: int, method: str, path: str, headers: dict[str, str]) -> int:
    with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path, headers=headers)
        answer: HTTPResponse = connection.getresponse()
        answer.read()
        return answer.status
