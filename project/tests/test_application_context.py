"""Jobs run in an application context of the owner's app: what works in a view works in a job."""

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from subprocess import Popen
from typing import IO, Any, Self
from urllib.request import Request, urlopen

import pytest

from helpers import PROJECT, WORKER, answers, free_port, process, wait_until

SERVER = """
import os
from pathlib import Path

from flask import Flask

import jobs
from database import Note, db
from launchpad import Launchpad


def create_app():
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{Path('notes.sqlite').resolve()}"
    app.config["GREETING"] = "Hello"
    app.config["SERVER_NAME"] = os.environ.get("OWN_ADDRESS")
    db.init_app(app)
    with app.app_context():
        db.create_all()
    with Path("made").open("a") as made:
        made.write(f"{os.getpid()}\\n")

    @app.get("/notes")
    def notes():
        return [note.text for note in db.session.scalars(db.select(Note).order_by(Note.id))]

    @app.teardown_appcontext
    def note_the_end(error):
        with Path("ended").open("a") as ended:
            ended.write(f"{os.getpid()} {error}\\n")

    Launchpad(app, jobs, url_prefix="/jobs")
    return app
"""

DATABASE = """
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()


class Note(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    text = db.Column(db.String)
"""

JOBS = """
import os
import time

from flask import current_app, g, url_for

from database import Note, db
from launchpad import job


@job()
def greet() -> str:
    return current_app.config["GREETING"]


@job(warm=True)
def greet_warm() -> str:
    return greet()


@job()
def links() -> list[str]:
    return [url_for("notes"), url_for("launchpad.index")]


@job()
def write(text: str) -> int:
    db.session.add(Note(text=text))
    db.session.commit()
    return os.getpid()


@job()
def write_half(text: str) -> None:
    write_half_(text)


@job(warm=True)
def write_half_warm(text: str) -> None:
    write_half_(text)


def write_half_(text: str) -> None:
    db.session.add(Note(text=text))
    db.session.flush()
    raise ValueError("no")


@job(timeout=2)
def write_for_ever(text: str) -> None:
    write_for_ever_(text)


@job(timeout=2, warm=True)
def write_for_ever_warm(text: str) -> None:
    write_for_ever_(text)


def write_for_ever_(text: str) -> None:
    db.session.add(Note(text=text))
    db.session.flush()
    time.sleep(60)


@job()
def leave_something() -> list[int]:
    found = [len(list(db.session)), len(list(g)), os.getpid()]
    db.session.add(Note(text="never committed"))
    g.left = True
    return found


@job(warm=True)
def leave_something_warm() -> list[int]:
    return leave_something()
"""


class Owner:
    """What somebody has made with Launchpad: a server.py and a jobs.py with a database; its server and worker run."""

    def __init__(self, folder: Path, redis_url: str):
        self.folder, self.url = folder, f"http://127.0.0.1:{free_port()}"
        for name, text in {"server": SERVER, "database": DATABASE, "jobs": JOBS}.items():
            (folder / f"{name}.py").write_text(text)
        path = os.pathsep.join(map(str, (folder, PROJECT)))
        self._environ = {"PYTHONPATH": path, "REDIS_URL": redis_url, "FILES_URL": str(folder / "files")}

    @contextmanager
    def serving(self) -> Iterator[Self]:
        command = ["gunicorn", "--bind", self.url.removeprefix("http://"), "server:create_app()"]
        with process(command, cwd=self.folder, **self._environ):
            wait_until(lambda: answers(self.url + "/jobs/healthz"))
            yield self

    def working(self, stdout: IO[bytes] | None = None, **environ: str) -> AbstractContextManager[Popen[bytes]]:
        return process(WORKER, cwd=self.folder, stdout=stdout, **self._environ, **environ)

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.url + path, data, {"Content-Type": "application/json"}), timeout=10) as answer:
            return json.load(answer)

    def run(self, function: str, **arguments: Any) -> dict[str, Any]:
        """Launch a function, and wait for the end of the job."""
        path = f"/jobs/api/jobs/{self.ask('/jobs/api/jobs', {'function': function, 'arguments': arguments})['id']}"
        return wait_until(lambda: (job := self.ask(path))["ended_at"] and job)

    def result(self, function: str, **arguments: Any) -> Any:
        job = self.run(function, **arguments)
        assert job["state"] == "finished", job["error"]
        return job["result"]["value"]

    def lines(self, name: str) -> list[str]:
        return (self.folder / name).read_text().splitlines()


@pytest.fixture
def owner(tmp_path: Path, redis_url: str) -> Iterator[Owner]:
    with Owner(tmp_path, redis_url).serving() as owner:
        yield owner


def test_a_job_uses_the_app_as_a_view_does_and_the_app_is_made_once_for_all_jobs(owner: Owner) -> None:
    with owner.working() as worker:
        assert owner.result("greet") == "Hello"
        processes = [owner.result("write", text=text) for text in ("one", "two", "three")]
        assert owner.ask("/notes") == ["one", "two", "three"]
        assert len(set(processes)) == 3
        made = owner.lines("made")
        assert not {str(worker.pid), *map(str, processes)} & set(made), "neither the worker nor a job imports it"
        assert len(made) == len(set(made)), "nobody makes it twice"


# Says what the app says; `greet_warm` is another kind of function.
KINDS = pytest.mark.parametrize("function", ["greet", "greet_warm"])


@KINDS
def test_a_source_file_that_changes_counts_at_the_next_job_without_a_restart(owner: Owner, function: str) -> None:
    with owner.working() as worker:
        for greeting in ("Hello", "Good morning", "Good evening"):
            (owner.folder / "server.py").write_text(SERVER.replace('"Hello"', f'"{greeting}"'))
            assert owner.result(function) == greeting
        (owner.folder / "jobs.py").write_text(
            JOBS.replace("current_app.config", "'from the jobs' or current_app.config")
        )
        assert owner.result(function) == "from the jobs"
        assert worker.poll() is None


def test_a_job_makes_links_to_the_servers_address_unless_the_owner_has_another(owner: Owner) -> None:
    addresses: list[tuple[dict[str, str], str]] = [
        ({"SERVER_PORT": "5001"}, "http://127.0.0.1:5001"),
        ({"SERVER_PORT": "5001", "SCRIPT_NAME": "/tools"}, "http://127.0.0.1:5001/tools"),
        ({"OWN_ADDRESS": "jobs.example"}, "http://jobs.example"),
    ]
    for environ, address in addresses:
        with owner.working(**environ):
            assert owner.result("links") == [f"{address}/notes", f"{address}/jobs/"]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["", "_warm"], ids=["fresh", "warm"])
def test_the_session_and_the_context_end_with_each_job_however_it_ends(owner: Owner, kind: str) -> None:
    with owner.working():
        found = [owner.result(f"leave_something{kind}") for _ in range(2)]
        assert owner.run(f"write_half{kind}", text="half")["error"]["cause"] == "ValueError: no"
        assert "longer than its limit" in owner.run(f"write_for_ever{kind}", text="half")["error"]["cause"]
        found.append(owner.result(f"leave_something{kind}"))
    assert [(rows, names) for rows, names, _ in found] == [(0, 0)] * 3
    assert (found[0][2] == found[1][2] == found[2][2]) == bool(kind), "one process, where it is kept"
    assert owner.ask("/notes") == []
    endings = [line.partition(" ")[2] for line in owner.lines("ended")]
    ended = dict.fromkeys(how for how in endings if how != "None")
    assert list(ended) == ["no", ""], "the last is the interruption, which has no text"


BROKEN = [
    (
        "jobs.py",
        "import nothing_like_that\n",
        "jobs.py, line 1: there is no module nothing_like_that: name its package",
    ),
    ("jobs.py", "def broken(:\n", "jobs.py, line 1: SyntaxError: invalid syntax: "),
    (
        "server.py",
        "def create_app():\n    1 / 0\n",
        "server.py, line 2: create_app: ZeroDivisionError: division by zero: ",
    ),
    (
        "server.py",
        "def create_app():\n    raise SystemExit('Not today')\n",
        "server.py, line 2: create_app: SystemExit: Not today: ",
    ),
]


@KINDS
def test_a_job_whose_app_cannot_be_made_fails_in_one_line_until_there_is_a_version_that_can(
    owner: Owner, function: str
) -> None:
    with owner.working() as worker:
        for name, text, cause in BROKEN:
            before = (owner.folder / name).read_text()
            (owner.folder / name).write_text(text)
            job = owner.run(function)
            assert job["state"] == "failed"
            assert job["error"]["cause"].startswith(f"The app server:create_app cannot be made: {cause}")
            (owner.folder / name).write_text(before)
            assert owner.result(function) == "Hello"
        assert worker.poll() is None


def test_what_could_not_be_made_is_tried_again_though_no_file_has_changed(owner: Owner) -> None:
    """As where a database was away when the worker started."""
    (owner.folder / "server.py").write_text(
        SERVER.replace("    db.init_app", "    open('there').close()\n    db.init_app")
    )
    with owner.working():
        assert "No such file or directory: 'there'" in owner.run("greet")["error"]["cause"]
        (owner.folder / "there").touch()
        wait_until(lambda: owner.run("greet")["state"] == "finished")


def test_a_module_that_starts_a_thread_when_it_is_imported_works_and_the_worker_says_that_it_is_slower(
    owner: Owner,
) -> None:
    thread = "threading.Thread(target=threading.Event().wait, name='heart', daemon=True)"
    (owner.folder / "jobs.py").write_text(f"{JOBS}\nimport threading\n{thread}.start()\n")
    with (owner.folder / "stdout").open("wb") as file, owner.working(stdout=file):
        assert [owner.result("greet") for _ in range(2)] == ["Hello", "Hello"]
        assert owner.run("write_half", text="half")["error"]["cause"] == "ValueError: no"
        said = [line for line in owner.lines("stdout") if "imports the functions anew, which is slower" in line]
        assert len(said) == 1
        assert said[0].endswith("since the import starts threads: heart")
        (owner.folder / "jobs.py").write_text(JOBS)
        assert owner.result("greet") == "Hello"


@pytest.mark.long
def test_flask_app_names_the_app_in_flasks_own_notation(owner: Owner) -> None:
    (owner.folder / "bare.py").write_text("import flask\napp = flask.Flask('bare')\n")
    causes = {
        "elsewhere:app": "cannot be made: there is no module elsewhere",
        "server:nothing": "cannot be made: NoAppException: Failed to find attribute 'nothing' in 'server'",
        "bare:app": "has no Launchpad in it: call Launchpad(app, jobs) there.",
    }
    for name, cause in causes.items():
        with owner.working(FLASK_APP=name):
            assert owner.run("greet")["error"]["cause"] == f"The app {name} {cause}"
    with owner.working(FLASK_APP="server"):
        assert owner.result("greet") == "Hello"
