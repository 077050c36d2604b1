"""Somebody changes what is his, as the README tells him to: in a copy of the repository, nothing of ours turns red."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import PROJECT, lend_environment
from readme import marked

pytestmark = pytest.mark.long

HELLO = '''"""My functions."""

from launchpad import job


@job()
def hello(name: str = "world") -> str:
    """Greet somebody."""
    return f"Hello, {name}!"
'''
SERVER = '''"""My app."""

from flask import Flask, render_template

import jobs
from launchpad import Launchpad


def create_app() -> Flask:
    """Make it."""
    app = Flask(__name__)
    Launchpad(app, jobs, url_prefix="/tools")

    @app.get("/")
    def home() -> str:
        return render_template("home.html")

    return app
'''
HOME = "<title>Mine</title><script>document.title = 'Mine, and alive'</script>\n"
MY_TEST = '''"""My page."""

from flask import Flask


def test_my_page_is_mine(app: Flask) -> None:
    page = app.test_client().get("/")
    assert "and alive" in page.text
    assert "Content-Security-Policy" not in page.headers
'''


def add_the_first_job(project: Path) -> None:
    with (project / "jobs.py").open("a") as jobs:
        jobs.write("\n\n" + marked("example"))


def replace_all_examples(project: Path) -> None:
    (project / "jobs.py").write_text(HELLO)


def delete_their_modules_too(project: Path) -> None:
    replace_all_examples(project)
    for name in ("csv_profile.py", "fractal.py"):
        (project / name).unlink()


def add_a_page(project: Path) -> None:
    (project / "server.py").write_text(SERVER)
    (project / "templates").mkdir()
    (project / "templates/home.html").write_text(HOME)
    (project / "tests/yours/test_page.py").write_text(MY_TEST)


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of who types; what mypy knows is kept from test to test."""
    of_make = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHON", "VENV", "TESTS")
    inherited = {name: value for name, value in os.environ.items() if name not in of_make}
    return inherited | {"MYPY_CACHE_DIR": str(tmp_path_factory.mktemp("mypy"))}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the repository, with the virtual environment that the tests are run in."""
    left_out = shutil.ignore_patterns(".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis", ".data", "figure")
    folder: Path = shutil.copytree(PROJECT.parent, tmp_path / "clone", ignore=left_out)
    lend_environment(folder)
    return folder


def run(folder: Path, environ: dict[str, str], *command: str) -> str:
    """Run a command in the copy, which must end well; what it printed."""
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "change",
    [add_the_first_job, replace_all_examples, delete_their_modules_too, add_a_page],
    ids=lambda it: it.__name__,
)
def test_make_check_stays_green(clone: Path, environ: dict[str, str], change: Callable[[Path], None]) -> None:
    change(clone / "project")
    said = run(clone, environ, "make", "check")
    assert " passed" in said
    assert "skipped" not in said, "what is not there is not tested, and not mentioned"


def test_who_breaks_his_function_is_told(clone: Path, environ: dict[str, str]) -> None:
    (clone / "project/jobs.py").write_text(HELLO + "\n\n@job()\ndef draw(scene: object) -> None: ...\n")
    with pytest.raises(AssertionError, match="draw: parameter scene: there is no form for"):
        run(clone, environ, "make", "yours")


def test_the_other_tests_never_see_what_is_his(clone: Path, environ: dict[str, str]) -> None:
    for name in ("jobs.py", "server.py"):
        (clone / "project" / name).write_text('raise SystemExit("This is not of the tests.")\n')
    some = ["catalog", "runner", "extension", "estimates", "cli", "local", "log"]
    only = "plain_function or catalog or without or new_function or follow or help or ctrl_c or printed or owner"
    files = [f"project/tests/test_{name}.py" for name in some]
    said = run(clone, environ, ".venv/bin/python", "-m", "pytest", *files, "-m", "not long", "-k", only)
    assert " passed" in said
