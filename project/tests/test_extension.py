"""An owner's Flask app with Launchpad in it: his views work as in bare Flask, and ours as ours."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from flask import Flask, abort, jsonify, render_template, request
from flask.testing import FlaskClient

from launchpad import Launchpad, job
from launchpad.functions.catalog import collect
from launchpad.settings import Settings

ELSEWHERE = {"Origin": "https://other.example", "Sec-Fetch-Site": "cross-site"}
INLINE = "<script>document.title = 'mine'</script>"


@pytest.fixture
def jobs() -> ModuleType:
    """A module with one function."""
    module = ModuleType("jobs")
    exec("def add(a: int, b: int = 1) -> int:\n    return a + b", module.__dict__)
    module.__dict__["add"] = job()(module.__dict__["add"])
    return module


@pytest.fixture
def owner(tmp_path: Path) -> Flask:
    """An app with views, a template and a file of its own."""
    for name, text in (
        ("templates/home.html", f"<h1>Home</h1>{INLINE}"),
        ("templates/index.html", "My index"),
        ("templates/base.html", "My base"),
        ("static/mine.css", "h1 {}"),
        ("static/app.js", "mine()"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    app = Flask("owner", root_path=str(tmp_path))
    app.add_url_rule("/home", "home", view_func=lambda: render_template("home.html"))
    app.add_url_rule("/hook", "hook", lambda: jsonify(z=1, a=request.get_data(as_text=True)), methods=["POST"])
    app.add_url_rule("/upload", "upload", lambda: request.files["f"].read(), methods=["POST"])
    app.add_url_rule("/forbidden", "forbidden", lambda: abort(403))
    app.add_url_rule("/broken", "broken", lambda: 1 / 0)
    return app


Make = Callable[..., FlaskClient]


@pytest.fixture
def make(owner: Flask, jobs: ModuleType, settings: Settings) -> Iterator[Make]:
    """Put Launchpad into the app, and answer a client."""

    def make(url_prefix: str = "", **changes: object) -> FlaskClient:
        Launchpad(owner, jobs, url_prefix=url_prefix, settings=settings.model_copy(update=changes))
        owner.config["PROPAGATE_EXCEPTIONS"] = False
        return owner.test_client()

    yield make
    if "launchpad" in owner.extensions:
        owner.extensions["launchpad"].manager.redis.close()


def bare(client: FlaskClient, path: str, **options: object) -> bool:
    """Tell whether an app answers as without Launchpad: no header, no error page, no check of ours."""
    app = Flask("bare", root_path=client.application.root_path)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.error_handler_spec = client.application.error_handler_spec
    for rule in client.application.url_map.iter_rules():
        if not rule.endpoint.startswith("launchpad.") and rule.endpoint != "static":
            view = client.application.view_functions[rule.endpoint]
            app.add_url_rule(rule.rule, rule.endpoint, view, methods=rule.methods)
    with client.open(path, **options) as ours, app.test_client().open(path, **options) as other:  # type: ignore[arg-type]
        assert (ours.status, ours.data) == (other.status, other.data)
        return dict(ours.headers) == dict(other.headers)


@pytest.mark.parametrize("url_prefix", ["", "/tools"])
def test_views_of_the_owner_work_as_in_bare_flask(make: Make, url_prefix: str) -> None:
    client = make(url_prefix, login_username="ada", login_password="engine", max_upload_mb=1)
    assert bare(client, "/home")
    assert bare(client, "/static/app.js")
    assert bare(client, "/hook", method="POST", data="{}", headers=ELSEWHERE)
    assert bare(client, "/hook", method="POST", data="x" * 2_000_000)
    assert bare(client, "/forbidden")
    assert bare(client, "/broken")
    assert INLINE in client.get("/home").text


def test_files_that_are_sent_to_a_view_of_the_owner_are_his(make: Make) -> None:
    with make().post("/upload", data={"f": (open(__file__, "rb"), "a.txt")}) as answer:
        assert answer.data == Path(__file__).read_bytes()


def test_error_pages_of_the_owner_are_for_his_addresses_and_ours_for_ours(make: Make, owner: Flask) -> None:
    owner.register_error_handler(404, lambda _: ("My 404", 404))
    owner.register_error_handler(500, lambda _: ("My 500", 500))
    owner.register_error_handler(Exception, lambda _: ("My exception", 500))
    client = make()
    owner.register_error_handler(405, lambda _: ("My 405", 405))
    assert client.get("/nowhere").text == "My 404"
    assert client.get("/hook").text == "My 405"
    assert client.get("/broken").text == "My exception"
    for method, path, status in (
        ("GET", "/api/jobs/nothing", 404),
        ("GET", "/api/nowhere", 404),
        ("PUT", "/api/jobs", 405),
        ("GET", "/jobs/nothing", 404),
        ("GET", "/launch/nothing", 404),
    ):
        answer = client.open(path, method=method)
        assert answer.status_code == status
        assert "My" not in answer.text
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert (answer.mimetype == "application/problem+json") == path.startswith("/api/")


def test_an_error_of_ours_that_nobody_expected_is_our_500(make: Make, owner: Flask) -> None:
    owner.register_error_handler(Exception, lambda _: ("My exception", 500))
    client = make()
    owner.view_functions["launchpad.list_functions"] = lambda: 1 / 0
    answer = client.get("/api/functions")
    assert (answer.status_code, answer.mimetype) == (500, "application/problem+json")
    assert "division" not in answer.text


def test_without_a_handler_of_the_owner_unknown_addresses_have_our_page_and_need_the_login(make: Make) -> None:
    client = make(login_username="ada", login_password="engine")
    assert client.get("/nowhere").status_code == 401
    assert "Launchpad" in client.get("/nowhere", auth=("ada", "engine")).text


def test_below_a_prefix_all_of_ours_is_there_and_nothing_elsewhere(make: Make, owner: Flask) -> None:
    client = make("/tools/")
    rules = [rule.rule for rule in owner.url_map.iter_rules() if rule.endpoint.startswith("launchpad.")]
    assert [rule for rule in rules if not rule.startswith("/tools/") and rule != "/healthz"] == []
    assert client.get("/tools/").status_code == 200
    assert client.get("/tools/api/nowhere").mimetype == "application/problem+json"
    assert client.get("/tools/nowhere").headers["X-Frame-Options"] == "DENY"
    assert "X-Frame-Options" not in client.get("/nowhere").headers
    launched = client.post("/tools/api/jobs", json={"function": "add", "arguments": {"a": 1}})
    assert launched.headers["Location"].startswith("/tools/api/jobs/")


def test_our_templates_are_ours_and_one_of_the_same_name_in_the_owners_folder_wins(make: Make, owner: Flask) -> None:
    client = make()
    assert "My" not in client.get("/").text
    folder = Path(owner.root_path, "templates/launchpad")
    folder.mkdir()
    (folder / "launch.html").write_text("My form of {{ function.name }}")
    assert client.get("/launch/add").text == "My form of add"


def test_two_views_at_one_address_are_told(make: Make, owner: Flask, caplog: pytest.LogCaptureFixture) -> None:
    client = make()
    assert client.get("/").status_code == 200
    owner._got_first_request = False  # as if the next line had come before
    owner.add_url_rule("/", "root", lambda: "mine")
    assert client.get("/").status_code == 500
    assert "give Launchpad another url_prefix" in caplog.text


def test_a_view_where_ours_is_to_be_stops_the_start(owner: Flask, jobs: ModuleType, settings: Settings) -> None:
    owner.add_url_rule("/", "root", lambda: "mine")
    with pytest.raises(ValueError, match="url_prefix"):
        Launchpad(owner, jobs, settings=settings)


def test_it_is_set_up_in_two_steps_too(owner: Flask, jobs: ModuleType, settings: Settings) -> None:
    launchpad = Launchpad()
    launchpad.init_app(owner, jobs, settings=settings)
    assert list(owner.extensions["launchpad"].functions) == ["add"]
    owner.extensions["launchpad"].manager.redis.close()
    with pytest.raises(TypeError):
        Launchpad(owner)


def test_the_functions_may_be_in_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "work_of_ours"
    (package / "reports").mkdir(parents=True)
    source = "from launchpad import job\n\n\n@job()\ndef {}() -> None: ...\n"
    for path, name in (("__init__", "first"), ("mail", "send"), ("reports/__init__", "report")):
        (package / f"{path}.py").write_text(source.format(name))
    monkeypatch.syspath_prepend(str(tmp_path))
    __import__("work_of_ours")
    assert sorted(collect(sys.modules["work_of_ours"])) == ["first", "report", "send"]
