"""The login: without it nothing answers but /healthz; with it, everything as before."""

import time
from base64 import b64encode
from itertools import product

import pytest
from flask import Flask

import dashboard
import server
from launchpad.settings import Settings
from launchpad.web.security import is_same

NAME, PASSWORD = "ada", "pass:wörd"
# Ways to write the open path that another one could be hidden behind.
NEARLY_OPEN = """/healthz/ //healthz /healthz/../api/jobs /healthz/.. /HEALTHZ /healthz;/api/jobs /healthz%00
  /healthz%2f /healthz%3f /./healthz /static/launchpad/../healthz /readyz /metrics /nowhere""".split()  # noqa: SIM905


def basic(login: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(login.encode()).decode()}


@pytest.fixture(params=[server, dashboard], ids=["server", "dashboard"])
def app(request: pytest.FixtureRequest, settings: Settings) -> Flask:
    login = {"login_username": NAME, "login_password": PASSWORD}
    app: Flask = request.param.create_app(settings.model_copy(update=login))
    return app


def paths(app: Flask) -> set[str]:
    """Every address of the application, with something in the place of what varies."""
    ours = app.name == "rq_dashboard"  # of the server, what is not ours is its owner's
    rules = [rule for rule in app.url_map.iter_rules() if ours or rule.endpoint.startswith("launchpad.")]
    rules = [rule for rule in rules if rule.rule != "/healthz"]
    built = [rule.build(dict.fromkeys(rule.arguments, "1")) or ("", rule.rule) for rule in rules]
    return {*(path for _, path in built), *NEARLY_OPEN}


def test_every_path_but_healthz_answers_401_without_the_login(app: Flask) -> None:
    client = app.test_client()
    assert len(paths(app)) > 20
    for path, method in product(paths(app), ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")):
        answer = client.open(path, method=method)
        assert (answer.status_code, method, path) == (401, method, path)
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
        with client.open(path, method=method, headers=basic(f"{NAME}:{PASSWORD}")) as answer:
            assert answer.status_code != 401
    assert client.get("/healthz").status_code == 200
    app.extensions["launchpad"].manager.redis.close()


@pytest.mark.parametrize(
    "header",
    [
        *(basic(login) for login in (":", NAME, f"{NAME}:", f":{PASSWORD}", "ada:pass", "eve:pass:wörd")),
        basic(f"{NAME}:{PASSWORD} "),
        basic(f"{NAME}:{PASSWORD}\0"),
        {"Authorization": "Basic"},
        {"Authorization": "Basic !"},
        {"Authorization": "Basic /w=="},
        {"Authorization": "Basic " + "A" * 100_000},
        {"Authorization": f"Bearer {PASSWORD.encode().hex()}"},
        {"Authorization": f'Digest username="{NAME}"'},
        {"Authorization": "basic"},
        {"Cookie": f"Authorization={NAME}:{PASSWORD.encode().hex()}"},
    ],
)  # fmt: skip
def test_what_is_not_the_login_is_401(app: Flask, header: dict[str, str]) -> None:
    assert app.test_client().get("/", headers=header).status_code == 401


def test_a_login_with_an_empty_password_cannot_be_set() -> None:
    for given in ({"LOGIN_USERNAME": NAME}, {"LOGIN_PASSWORD": PASSWORD}):
        with pytest.raises(SystemExit, match="set both, or neither"):
            Settings.from_environ(given)


def test_the_time_of_the_answer_does_not_tell_how_much_of_a_password_is_right() -> None:
    """With ==, a password that is wrong from the start is told a thousand times sooner than one with a right start."""
    secret = "x" * 20_000_000

    def seconds(given: str) -> float:
        times = []
        for _ in range(7):
            start = time.process_time()
            assert not is_same(given, secret)
            times.append(time.process_time() - start)
        return min(times)

    wrong_at_the_start, wrong_at_the_end = seconds("y" + secret[1:]), seconds(secret[1:] + "y")
    assert 1 / 2 < wrong_at_the_start / wrong_at_the_end < 2
