"""RECIPES.md: each recipe is followed, word for word, in a copy of the project, and does what it promises."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
import yaml
from flask.testing import FlaskClient
from playwright.sync_api import Browser

from helpers import BIN, PROJECT, WORKER, answers, copy_project, free_port, lend_environment, process, wait_until
from readme import RECIPE_BLOCKS, RECIPES, ROOT, marked

# What jobs.py has imported already where the README's first job is added.
IMPORTED = "from typing import Annotated\n\nfrom pydantic import Field\n\nfrom launchpad import job, progress\n\n"


def recipe(title: str) -> str:
    """The text of one recipe."""
    return RECIPES.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def follow(folder: Path, title: str) -> None:
    """Do with the blocks of a recipe what their marks say."""
    text = recipe(title)
    assert text, title
    for block in (block for block in RECIPE_BLOCKS if block.text in text):
        what, _, file = block.mark.rpartition(" ")
        path = folder / file
        if what == "create":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif what == "add to":
            path.write_text(f"{path.read_text()}\n\n{block.text}")
        elif what == "create_app of":
            replace_factory(path, block.text)


def replace_factory(path: Path, factory: str) -> None:
    """Put a factory in the place of the one that is there, with the import that the recipe names."""
    [line] = re.findall(r"`(from flask import .+?)`", RECIPES)
    text = path.read_text().replace("from flask import Flask\n", f"{line}\n")
    path.write_text(text[: text.index("def create_app")] + factory)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the repository, as somebody has cloned it, with the functions of the tests."""
    for name in ("Makefile", "pyproject.toml", "README.md", ".env.example", "docker-compose.yml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "bin", tmp_path / "bin", ignore=shutil.ignore_patterns("__pycache__"))
    copy_project(tmp_path, "\n\n" + marked("example"))
    return tmp_path


def run(folder: Path, script: str, **environ: str) -> str:
    """What a script prints; it fails where one of its commands does."""
    of_make = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHON", "VENV", "PYTHONPATH")
    inherited = {name: value for name, value in os.environ.items() if name not in of_make}
    command = ["bash", "-euc", script]
    done = subprocess.run(command, cwd=folder, env=inherited | environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def lint(folder: Path) -> None:
    """Check that `make lint` has nothing to say of the copy's Python."""
    run(folder, f"{BIN}/ruff check . && {BIN}/ruff format --check . && {BIN}/mypy --cache-dir {ROOT}/.mypy_cache")


@contextmanager
def serving(folder: Path, app: str = "server:create_app()", path: str = "", **environ: str) -> Iterator[str]:
    """Run an app of this folder, under gunicorn: its URL."""
    port = free_port()
    with process(["gunicorn", "--bind", f"127.0.0.1:{port}", app], folder, **environ):
        wait_until(lambda: answers(f"http://127.0.0.1:{port}{path}/healthz"))
        yield f"http://127.0.0.1:{port}{path}"


def ask(url: str, body: Any = None) -> Any:
    """GET, or POST the body as JSON."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"Content-Type": "application/json"}), timeout=10) as answer:
        return json.load(answer)


def result_of(url: str, function: str, **arguments: Any) -> Any:
    """Launch a job and wait for its end: what it returned."""
    job = ask(f"{url}/api/jobs", {"function": function, "arguments": arguments})
    states = ("finished", "failed")
    job = wait_until(lambda: (found := ask(f"{url}/api/jobs/{job['id']}"))["state"] in states and found, 60)
    assert job["state"] == "finished", job["error"]
    return job["result"]["value"]


# -- the recipes


def test_every_block_is_followed() -> None:
    others = ("tests/browser/test_below_a_path.py", "tests/test_readme.py")
    source = Path(__file__).read_text() + "".join((PROJECT / name).read_text() for name in others)
    for block in RECIPE_BLOCKS:
        what = block.mark.rpartition(" ")[0]
        assert what in ("create", "add to", "create_app of") or f'"{block.mark}"' in source, block


def test_a_link_fills_a_form_in(client: FlaskClient) -> None:
    path = marked("link").strip().removeprefix("http://127.0.0.1:5000")
    assert 'value="5"' in client.get(path).text
    assert client.get("/api/jobs").json["total"] == 0
    job = client.post("/api/jobs", json={"function": "wait", "arguments": {"num_iterations": 7}}).json
    assert 'value="7"' in client.get(f"{urlsplit(path).path}?from={job['id']}").text


@pytest.mark.long
def test_a_job_writes_to_a_database_and_a_view_reads_it(folder: Path, redis_url: str, files_url: str) -> None:
    follow(folder, "Use a database in a job")
    environ = {"REDIS_URL": redis_url, "FILES_URL": files_url}
    with serving(folder / "project", **environ) as url, process(WORKER, folder / "project", **environ):
        assert [result_of(url, "measure", value=value) for value in (1.5, 2.5)] == [1, 2]
        assert ask(f"{url}/measurements") == [1.5, 2.5]
    assert (folder / "project/instance/my.db").exists()
    lint(folder)


def test_the_containers_are_told_where_the_database_is(folder: Path) -> None:
    head = "  environment: &settings\n"
    assert head.strip() in RECIPES
    compose = (folder / "docker-compose.yml").read_text().replace(head, head + marked("environment"))
    services = yaml.safe_load(compose)["services"]
    for name in ("server", "worker", "dashboard"):
        assert services[name]["environment"]["DATABASE_URL"].startswith("sqlite:////data/"), "the volume"


def test_it_is_put_into_an_app_that_is_there_already(tmp_path: Path, redis_url: str, files_url: str) -> None:
    (tmp_path / "launchpad").symlink_to(PROJECT / "launchpad")
    shutil.copy(PROJECT / "worker.py", tmp_path)
    (tmp_path / "tasks.py").write_text(IMPORTED + marked("example"))
    follow(tmp_path, "Put it into an app that you have")
    environ = {"REDIS_URL": redis_url, "FILES_URL": files_url, "PYTHONPATH": str(tmp_path)}
    worker = marked("worker").replace("redis://127.0.0.1:6379/0", redis_url).replace("=files", f"={files_url}")
    assert redis_url in worker
    with ExitStack() as stack:
        url = stack.enter_context(serving(tmp_path, "shop:create_app()", "/tools", **environ))
        command = ["/bin/bash", "-euc", worker.replace("\nrq ", "\nexec rq ")]
        stack.enter_context(process(command, tmp_path, PATH=f"{BIN}:{os.environ['PATH']}", PYTHONPATH=str(tmp_path)))
        assert result_of(url, "find_primes", limit=1000) == 168
        with urlopen(url.removesuffix("/tools")) as answer:
            assert answer.read() == b"Welcome to the shop."


def test_a_page_of_ones_own_has_its_template_its_style_and_its_script(
    folder: Path, redis_url: str, files_url: str, browser: Browser
) -> None:
    follow(folder, "Add a page")
    with serving(folder / "project", REDIS_URL=redis_url, FILES_URL=files_url) as url:
        page = browser.new_page()
        try:
            page.goto(url)
            page.wait_for_function("document.querySelector('h1').textContent.startsWith('My tools, at ')")
            assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == "rgb(0, 128, 128)"
            page.get_by_role("link", name="Wait for five seconds").click()
            assert page.get_by_label("Num iterations").input_value() == "5"
            assert urlsplit(page.url).path == "/tools/launch/wait"
        finally:
            page.close()
    lint(folder)


def test_a_template_of_ones_own_wins(folder: Path, redis_url: str, files_url: str) -> None:
    [copy] = [block.text for block in RECIPE_BLOCKS if block.mark == "run" and "templates" in block.text]
    run(folder, copy)
    [mine] = (folder / "project/templates/launchpad").iterdir()
    mine.write_text(mine.read_text() + "<b>Mine</b>")
    with serving(folder / "project", REDIS_URL=redis_url, FILES_URL=files_url) as url:
        ask(f"{url}/api/jobs", {"function": "wait"})
        with urlopen(url) as answer:
            assert b"<b>Mine</b>" in answer.read()


def test_a_function_of_ones_own_is_tested(folder: Path) -> None:
    shutil.copytree(PROJECT / "tests", folder / "project/tests", ignore=shutil.ignore_patterns("__pycache__"))
    follow(folder, "Test your own function")
    printed = run(folder, f"{BIN}/python -m pytest -q project/tests/yours/test_my_functions.py")
    assert "2 passed" in printed
    lint(folder)


def pins(folder: Path) -> dict[str, str]:
    """The packages that are pinned, of each file."""
    found = {}
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (folder / "project" / name).read_text()
        found |= {f"{name} {package}": version for package, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.M)}
    return found


@pytest.mark.long
def test_a_package_is_added_and_no_other_one_changes(folder: Path) -> None:
    lend_environment(folder)
    for name in ("benchmarks", "tests"):
        shutil.copytree(PROJECT / name, folder / "project" / name, ignore=shutil.ignore_patterns("__pycache__"))
    before = pins(folder)
    [script] = [block.text for block in RECIPE_BLOCKS if block.mark == "run" and "requirements" in block.text]
    run(folder, script)
    added = {name: version for name, version in pins(folder).items() if before.get(name) != version}
    assert added.keys() == {"requirements.txt humanize"}


def test_the_project_is_renamed_but_not_its_package(folder: Path) -> None:
    [script] = [block.text for block in RECIPE_BLOCKS if block.mark == "run" and "rename" in block.text]
    engine = {path: path.read_bytes() for path in (folder / "project/launchpad").rglob("*.*") if path.is_file()}
    run(folder, script)
    compose = yaml.safe_load((folder / "docker-compose.yml").read_text())
    assert compose["x-app"]["environment"]["TITLE"] == "${TITLE:-My tools}"
    assert {compose["services"][name]["image"] for name in ("server", "worker", "dashboard")} == {"my-tools"}
    assert (folder / "README.md").read_text().startswith("# My tools\n")
    assert "\n#TITLE=My tools\n" in (folder / ".env.example").read_text()
    assert run(folder / "project", f"{BIN}/python -c 'import local; print(local.TITLE)'") == "My tools\n"
    assert {path: path.read_bytes() for path in engine} == engine


@pytest.mark.parametrize("name", ["", "$HOME", '"', "a" * 61, "}"])
def test_a_name_that_some_file_could_not_hold_is_refused_and_nothing_changed(folder: Path, name: str) -> None:
    before = (folder / "docker-compose.yml").read_text()
    command = [sys.executable, str(folder / "bin/rename_project.py"), name]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert (folder / "docker-compose.yml").read_text() == before
