"""README.md: what it shows is in the files, what it says to type works, what it lists is complete.

The pages with the promises are here, too; RECIPES.md has test_recipes.py.
Its commands for Docker are run by stack/test_readme_docker.py.
"""

import ast
import inspect
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest
from matplotlib.figure import Figure

from helpers import PROJECT, answers, copy_project, free_port, lend_environment, wait_until
from launchpad.functions.catalog import job
from launchpad.functions.files import File, UploadedFile
from launchpad.functions.progress import progress
from launchpad.functions.results import MAX_RESULT_BYTES, MAX_ROWS, Image, Table, result_of
from launchpad.queue.logs import MAX_LINES
from launchpad.storage import ABANDONED
from launchpad.worker.log_collector import MAX_LINE_CHARACTERS
from launchpad.worker.scheduler import SWEEP_SECONDS
from local import LocalSettings
from readme import (
    BLOCKS,
    FAULTS,
    INLINE,
    README,
    RECIPE_PROSE,
    ROOT,
    SECURITY,
    code,
    commands,
    marked,
    named_tests,
    table,
)

# Commands that a test of their own runs, or CI itself: where, and in which words.
ELSEWHERE = {
    "make check": ("Makefile", "check: lint yours"),  # which CI runs, each
    "make test": (".ci/run", "make test"),
    "make lint": (".ci/run", "make lint"),
    "make run PYTHON=python3.12": ("project/tests/test_local.py", '["make", "run", f"PYTHON={python}"'),
}


# -- what it shows


def test_every_block_is_checked_by_a_test() -> None:
    source = Path(__file__).read_text() + (PROJECT / "tests/stack/test_readme_docker.py").read_text()
    for block in BLOCKS:
        checked = block.language == "sh" if not block.mark else f'marked("{block.mark}")' in source
        assert checked, block


def settings_listed() -> dict[str, str]:
    """The settings of .env.example, with their defaults."""
    return dict(re.findall(r"^#([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.M))


def settings_read() -> dict[str, str]:
    """The settings that are read, by us or by Amazon's client, with their defaults."""
    compose = (ROOT / "docker-compose.yml").read_text()
    amazon = dict.fromkeys(re.findall(r"^ +(AWS_\w+):$", compose, re.M), "")
    [title] = re.findall(r"\{TITLE:-(.*)\}", compose)  # `make rename` changes it
    read = {name.upper(): str(field.default) for name, field in LocalSettings.model_fields.items()}
    return amazon | read | {"TITLE": title}


def test_every_setting_is_listed_with_its_default_and_its_reason() -> None:
    """An owner's app may have settings of its own."""
    assert settings_listed().items() >= settings_read().items()
    text = (ROOT / ".env.example").read_text()
    for name in settings_read():
        assert re.search(rf"\n# .+\n(#[A-Z_]+=.*\n)*#{name}=", text), name


def test_compose_hands_over_each_setting_that_its_containers_read() -> None:
    lines = re.findall(r"^ +([A-Z_]+):(?: |$)", (ROOT / "docker-compose.yml").read_text(), re.M)
    handed = set(lines)
    assert len(lines) == len(handed), "one of them stands there twice"
    others = {"BIND_ADDRESS": "of Compose itself", "WORKERS": "of Compose itself", "VALKEY_PORT": "of make run"}
    assert handed >= settings_read().keys() - others.keys()
    assert not handed & others.keys()


def test_every_setting_that_is_named_is_listed() -> None:
    named = set(re.findall(r"^([A-Z]{2,}_[A-Z_]+|TITLE)(?==|$)", "\n".join(INLINE + code(RECIPE_PROSE)), re.M))
    assert len(named) >= 5
    assert named <= settings_listed().keys()


def test_the_options_are_those_of_the_decorator() -> None:
    listed = {code(name)[0]: ast.literal_eval(code(default)[0]) for name, default, _ in table("options")}
    options = inspect.signature(job).parameters.values()
    assert listed == {option.name: option.default for option in options if option.kind == option.KEYWORD_ONLY}


def test_each_type_of_the_table_has_a_form() -> None:
    types = [date, datetime, Decimal, Literal, UploadedFile, Enum("Enum", "RED GREEN")]
    names = {getattr(type, "__name__", "Literal"): type for type in types}
    for name in [name for row in table("types") for name in code(row[0])]:

        def function(parameter: Any) -> None: ...

        function.__annotations__["parameter"] = eval(name, names)
        assert job()(function).job.fields, name  # type: ignore[attr-defined]


def test_each_result_of_the_table_becomes_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    figure = Figure()
    figure.savefig("plot.png")
    Path("report.pdf").write_bytes(b"%PDF")
    rows = [{"name": "Ada", "born": 1815}]
    names = {"rows": rows, "frame": pd.DataFrame(rows), "figure": figure, "Table": Table, "Image": Image, "File": File}
    for returned, becomes, _ in table("results"):
        for expression in code(returned):
            assert result_of(eval(expression, dict(names)))["type"] == code(becomes)[0], expression
    [result] = [
        result_of(eval(text, dict(names)))
        for row in table("results")
        for text in code(row[0])
        if ":" in text and "File" in text
    ]
    assert (result["label"], result["more"][0]["label"]) == ("People", "Report")


def test_the_numbers_are_those_of_the_source() -> None:
    for number, words in (
        (MAX_ROWS, "up to {:,} rows"),
        (MAX_RESULT_BYTES // 1024**2, "JSON above {} MB"),
        (MAX_LINES, "newest {:,} lines"),
        (MAX_LINE_CHARACTERS, "more than {:,} characters"),
    ):
        assert words.format(number) in README, words
    assert ABANDONED + SWEEP_SECONDS < 1.2 * 3600, "about an hour"


def test_the_listing_has_every_file() -> None:
    listed, folders = set(), [""]
    for line in marked("tree").splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        names = [name.strip() for name in line.split("  ") if name and " " not in name.strip()]
        del folders[depth + 1 :]
        folders.append(folders[depth] + names[0])
        listed |= {folders[depth] + name for name in names}
    assert not [path for path in listed if not (ROOT / path).exists()]
    for path in (PROJECT / "launchpad").iterdir():  # elsewhere an owner adds what he likes
        if not re.search(r"cache|__init__", path.name):
            assert str(path.relative_to(ROOT)) + "/" * path.is_dir() in listed


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "RECIPES.md", FAULTS, SECURITY], ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not link.startswith("https://"):
            file, _, anchor = link.partition("#")
            target = page.parent / file if file else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


# -- the promises


@pytest.mark.parametrize("page", [FAULTS, SECURITY], ids=lambda page: page.parent.name)
def test_each_test_that_is_named_exists_and_each_that_is_there_is_named(page: Path) -> None:
    """A promise without a test is none, and a test whose promise is not told helps nobody who decides."""
    text = page.read_text()
    files = [
        *page.parent.glob("test_*.py"),
        *(page.parent / name for name in re.findall(r"`(\S+/test_\w+\.py)`", text)),
    ]
    assert len(files) > len([*page.parent.glob("test_*.py")])
    everywhere = "".join(path.read_text() for path in (PROJECT / "tests").rglob("test_*.py"))
    there = {name for file in files for name in re.findall(r"^def (test_\w+)\(", file.read_text(), re.M)}
    assert not [name for name in named_tests(text) if f"\ndef {name}(" not in everywhere]
    assert there <= named_tests(text)
    assert not [file.name for file in files if f"{file.name}`" not in text]


def test_every_command_is_run_by_a_test() -> None:
    run_here = {"make run"}
    for command in commands():
        run = command.text in run_here | ELSEWHERE.keys() or command.text.split()[0] in ("docker", "curl", "printf")
        assert run, f"{command.text}: run it in a test, and say where in ELSEWHERE"
    for file, words in ELSEWHERE.values():
        assert words in (ROOT / file).read_text()


def test_commands_in_the_text_are_those_of_the_blocks_or_of_a_file() -> None:
    files = "".join((ROOT / name).read_text() for name in ("docker-compose.yml", "docker-compose-development.yml"))
    known = [command.text for command in commands()] + [*ELSEWHERE, *marked("beside make run").splitlines()]
    targets = re.findall(r"^make (\w+)", subprocess.check_output(["make", "-C", str(ROOT), "help"], text=True), re.M)
    known += ["make", *(f"make {target}" for target in targets), launch_of_the_example()]
    for text in INLINE:
        if re.match(r"(make|docker|flask|rq|curl|git|pip|python)( |$)", text):
            assert any(command.startswith(text) for command in known) or text in files, text


# -- what it says to type


class Run:
    """The README's `make run`, in a copy of the repository and on ports of its own."""

    PORTS = ("SERVER_PORT", "DASHBOARD_PORT", "VALKEY_PORT")
    # What this machine has set for itself, and what the make that runs the tests hands down to the make in a test.
    UNSET = frozenset(name.upper() for name in LocalSettings.model_fields)
    OF_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "PYTHON", "VENV")

    def __init__(self, folder: Path):
        self.folder = folder
        self.output = folder / "output.txt"
        self.ports = {name: str(free_port()) for name in self.PORTS}
        inherited = {name: value for name, value in os.environ.items() if name not in (*self.UNSET, *self.OF_MAKE)}
        self.environ = inherited | self.ports | {"CURL_HOME": str(folder)}
        (folder / ".curlrc").write_text('silent\nshow-error\nnoproxy = "*"\nwrite-out = "\\n%{http_code}"\n')

    def here(self, text: str) -> str:
        """The text, with our ports in the place of those that the README has."""
        settings = {name.upper(): field.default for name, field in LocalSettings.model_fields.items()}
        for name, port in self.ports.items():
            text = text.replace(f"127.0.0.1:{settings[name]}", f"127.0.0.1:{port}")
        return text

    def start(self, command: str) -> subprocess.Popen[bytes]:
        with self.output.open("w") as output:
            return subprocess.Popen(
                ["bash", "-c", command],
                cwd=self.folder,
                env=self.environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def is_up(self) -> bool:
        return self.answers("http://127.0.0.1:5000/readyz") and self.answers("http://127.0.0.1:5555/healthz")

    def answers(self, url: str) -> bool:
        return answers(self.here(url))

    def shell(self, script: str, **environ: str) -> str:
        """What a script prints; it fails where one of its commands does."""
        command = ["bash", "-euc", self.here(script)]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environ | environ, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{script}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The running copy, whose jobs.py has the function of the README."""
    run = Run(tmp_path_factory.mktemp("copy"))
    copy_to(run.folder)
    (run.folder / ".env").write_text("TITLE=Tools & more\n")
    [command] = [command.text for command in commands("make") if command.text == "make run"]
    process = run.start(command)
    try:
        wait_until(lambda: process.poll() is not None or run.is_up(), 60)
        assert process.poll() is None, run.output.read_text()
        yield run
        os.killpg(process.pid, signal.SIGINT)  # Ctrl-C
        process.wait(30)
        assert not run.answers("http://127.0.0.1:5000/healthz")
    finally:
        process.terminate()
        process.wait(30)


def copy_to(folder: Path) -> None:
    """Copy what `make run` needs, and lend it the virtual environment that the tests are run in."""
    shutil.copy(ROOT / "Makefile", folder)
    copy_project(folder, "\n\n" + marked("example"))
    lend_environment(folder)


def launch_of_the_example() -> str:
    [command] = [text for text in INLINE if text.startswith("flask launch find-primes")]
    return command


def test_the_addresses_to_open_answer(run: Run) -> None:
    addresses = re.findall(r"<(http://127\.[^>]+)>", README)
    assert len(addresses) >= 3
    for address in addresses:
        assert run.answers(address), address


def test_a_setting_in_the_file_of_settings_is_read(run: Run) -> None:
    assert ".env" in INLINE
    page = run.shell("curl http://127.0.0.1:5000/")
    assert "Tools &amp; more</title>" in page
    assert "<span>Tools &amp; more</span>" in page


def test_the_lines_beside_make_run_launch_and_follow_a_job(run: Run) -> None:
    for line in (run.here("REDIS_URL=redis://127.0.0.1:6380/0"), f"FILES_URL={run.folder}/.data/files"):
        assert line in run.output.read_text()
    assert run.shell(marked("beside make run")) == "3\n"


def test_the_example_has_its_form_its_api_and_its_command(run: Run) -> None:
    prepare = "".join(marked("beside make run").splitlines(keepends=True)[:-1])
    id = run.shell(prepare + launch_of_the_example()).strip()
    assert look(run, id, "result")["result"] == {"type": "json", "value": 168}

    ask = "curl http://127.0.0.1:5000"
    given = json.dumps({"function": "find_primes", "arguments": {"limit": 10, "answer": "list"}})
    launched = run.shell(f"{ask}/api/jobs -H 'Content-Type: application/json' -d '{given}'")
    assert look(run, json.loads(launched[:-4])["id"], "result")["result"]["value"] == [2, 3, 5, 7]
    page = run.shell(f"{ask}/")
    for words in ("Prime numbers", 'name="limit"', 'name="answer"', "Look below this number."):
        assert words in page
    assert "Find the prime numbers below a limit." in run.shell(f"{ask}/api/openapi.json")


def look(run: Run, id: str, at: str) -> Any:
    """The job, as soon as it has a progress, or a result."""

    def ready() -> Any:
        job = json.loads(run.shell(f"curl http://127.0.0.1:5000/api/jobs/{id}")[:-4])
        return job[at] and job

    return wait_until(ready, 60)


def test_the_example_is_still_a_plain_function(run: Run) -> None:
    assert "find_primes(1000)" in INLINE
    script = "cd project && ../.venv/bin/python -c 'import jobs; print(jobs.find_primes(1000))'"
    assert run.shell(script, REDIS_URL="") == "168\n"


def test_the_one_with_a_file_is_a_plain_function_too(run: Run) -> None:
    [call] = [text for text in INLINE if text.startswith("profile_csv(")]
    (run.folder / "project/people.csv").write_text("name; born\nAda; 1815\n")
    lines = f'from jobs import *; print({call}["Columns"].rows.__next__()[:2])'
    assert run.shell(f"cd project && ../.venv/bin/python -c '{lines}'").splitlines()[-1] == "['name', 'text']"


def test_a_bar_is_moved_by_hand() -> None:
    names: dict[str, Any] = {"progress": lambda **options: progress(file=StringIO(), **options)}
    [line] = [text for text in INLINE if text.startswith("with progress(")]
    exec(line, names)
    assert (names["bar"].n, names["bar"].total, names["bar"].desc) == (2, 3, "Reading")


def test_each_request_is_answered_with_the_status_that_is_said(run: Run) -> None:
    job: dict[str, Any] = {}
    for command in commands():
        if command.text.startswith("printf"):
            run.shell(command.text)
        elif command.text.startswith("curl"):
            body, _, status = run.shell(command.text, JOB=job.get("id", "")).rpartition("\n")
            assert status == command.note, f"{command.text}\n{body}"
            if not job:
                job = look(run, json.loads(body)["id"], "progress")
            if "=@" in command.text:
                job = look(run, json.loads(body)["id"], "result")
    assert (run.folder / "people-cleaned.csv").read_text() == "name,born\nAda,1815\n"
