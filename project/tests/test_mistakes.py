"""A mistake in jobs.py is one line: the last one where something starts, and the cause of a job that cannot run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from redis import Redis

from helpers import APP, BIN, PROJECT, WORKER, environ_in, is_listening, process, wait_until
from launchpad.functions.mistakes import one_line
from launchpad.queue.manager import JobManager

HEAD = "from launchpad import job\n\n"
TAKE = "take int, float, bool, str, date, datetime, Decimal, Literal, an Enum, UploadedFile, or a list of one of these"
REMEDY = "name its package in requirements.in, then run `make requirements`"

# What stands in jobs.py below its first two lines, and what is said of it.
MISTAKES = {
    "a hint that is not defined": (
        "@job()\ndef run(name: Strin) -> None: ...\n",
        "jobs.py, line 4: run: NameError: name 'Strin' is not defined: correct this line",
    ),
    "a hint in quotes that is not defined": (
        "@job()\ndef run(name: 'Strin') -> None: ...\n",
        "jobs.py, line 3: run: a type is wrong: NameError: name 'Strin' is not defined",
    ),
    "a parameter without a hint": (
        "@job()\ndef run(name) -> None: ...\n",
        "jobs.py, line 3: run: parameter name needs a name and a type",
    ),
    "a type without a form": (
        "@job()\ndef run(scene: dict[str, int]) -> None: ...\n",
        f"jobs.py, line 3: run: parameter scene: there is no form for dict[str, int]: {TAKE}",
    ),
    "a default that does not fit": (
        "@job()\ndef run(number: int = 'one') -> None: ...\n",
        "jobs.py, line 3: run: parameter number: the default is wrong: Input should be a valid integer, unable to "
        "parse string as an integer",
    ),
    "a package that is missing": (
        "import no_such_package.parts\n",
        f"jobs.py, line 3: there is no module no_such_package: {REMEDY}",
    ),
    "a package that is missing, in a function": (
        "def table():\n    from no_such_package import Table\n    return Table\n\n\ntable()\n",
        f"jobs.py, line 4: table: there is no module no_such_package: {REMEDY}",
    ),
    "a name that a package does not have": (
        "from json import no_such_name\n",
        "jobs.py, line 3: ImportError: cannot import name 'no_such_name' from 'json'",
    ),
    "syntax": (
        "@job()\ndef run(:\n    pass\n",
        "jobs.py, line 4: SyntaxError: invalid syntax: correct this line",
    ),
    "indentation": (
        "@job()\ndef run():\npass\n",
        "jobs.py, line 5: IndentationError: expected an indented block after function definition on line 4: correct "
        "this line",
    ),
    "an exception at import": (
        "RATIO = 1 / 0\n",
        "jobs.py, line 3: ZeroDivisionError: division by zero: correct this line",
    ),
    "an exception of many lines": (
        "raise ValueError('one\\ntwo.\\n')\n",
        "jobs.py, line 3: ValueError: one two: correct this line",
    ),
    "an end at import": (
        "raise SystemExit('Not today')\n",
        "jobs.py, line 3: SystemExit: Not today: correct this line",
    ),
    "an option that there is not": (
        "@job(retry=3)\ndef run() -> None: ...\n",
        "jobs.py, line 3: run: there is no option retry: take one of timeout, result_ttl, failure_ttl, retries, title, "
        "cron, warm, memory",
    ),
    "an option of a wrong value": (
        "@job(timeout=0)\ndef run() -> None: ...\n",
        "jobs.py, line 3: run: option timeout: Input should be greater than or equal to 1",
    ),
    "a schedule that is none": (
        "@job(cron='every day')\ndef run() -> None: ...\n",
        "jobs.py, line 3: run: 'every day' is not a schedule like '30 2 * * 1' (minute hour day month weekday)",
    ),
    "a class": (
        "@job()\nclass Report: ...\n",
        "jobs.py, line 3: Report: @job stands above a class: put it above a function",
    ),
    "a generator": (
        "@job()\ndef run():\n    yield 1\n",
        "jobs.py, line 3: run: it yields, and nobody would take what it does: return a list instead",
    ),
    "a decorator above": (
        "from functools import cache\n\n\n@cache\n@job()\ndef run() -> None: ...\n",
        "jobs.py, line 6: run: put @job above its other decorators",
    ),
    "a decorator above that keeps what is at the function": (
        "from contextlib import contextmanager\n\n\n@contextmanager\n@job()\ndef run() -> None: ...\n",
        "jobs.py, line 6: run: put @job above its other decorators",
    ),
    "two of one name": (
        "@job()\ndef run() -> None: ...\n\n\n@job()\ndef run() -> None: ...\n",
        "jobs.py, line 3: run: another one has this name (jobs.py, line 7): rename one of them",
    ),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a server.py, for a jobs.py."""
    (tmp_path / "project").mkdir()
    shutil.copy(APP / "server.py", tmp_path / "project")
    return tmp_path / "project"


def environ_of(project: Path) -> dict[str, str]:
    return environ_in(project) | {"PYTHONPATH": os.pathsep.join(map(str, (project, PROJECT)))}


STARTS = [
    "flask --app server launch --help",
    "flask --app server run",
    "gunicorn --bind unix:socket server:create_app()",
]


# One for each way to find them; the others take a minute.
QUICK = ("syntax", "a package that is missing", "a type without a form", "a decorator above")
ALL = [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in MISTAKES]


@pytest.mark.parametrize("mistake", ALL)
def test_it_is_the_last_line_where_the_server_starts_below_the_traceback(project: Path, mistake: str) -> None:
    code, line = MISTAKES[mistake]
    (project / "jobs.py").write_text(HEAD + code)
    begun = [
        subprocess.Popen(
            [str(BIN / program), *arguments], cwd=project, env=environ_of(project), stderr=subprocess.PIPE, text=True
        )
        for program, *arguments in map(str.split, STARTS)
    ]
    for process_ in begun:
        _, output = process_.communicate(timeout=60)
        assert process_.returncode == 1
        assert without_path(output.splitlines()[-1]) == f"launchpad.Mistake: {line}"
        assert "Traceback (most recent call last):" in output


def without_path(line: str) -> str:
    """The line without the place of a module of Python's, which is another on each machine."""
    return line.partition(" (/")[0] if "cannot import name" in line else line


def test_the_worker_says_it_and_fails_the_jobs_with_it_until_it_is_mended(
    manager: JobManager, redis: Redis, redis_url: str, files_url: str, project: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"

    def last_line() -> str:
        return without_path((output.read_text().splitlines() or [""])[-1])

    def end_of_a_job() -> tuple[str, str]:
        id = manager.launch("count_words", {"text": "a"})[0].id
        wait_until(lambda: manager.get(id).ended_at)
        job = manager.get(id)
        return job.state, without_path(job.error.cause if job.error else "")

    jobs = project / "jobs.py"
    jobs.write_text(HEAD + MISTAKES["syntax"][0])
    environ = environ_of(project) | {"REDIS_URL": redis_url, "FILES_URL": files_url}
    with output.open("wb") as file, process(WORKER, project, file, file, **environ):
        wait_until(lambda: last_line() == f"launchpad.Mistake: {MISTAKES['syntax'][1]}")
        wait_until(lambda: is_listening(redis))
        for code, line in MISTAKES.values():
            jobs.write_text(HEAD + code)
            assert end_of_a_job() == ("failed", line)
            assert last_line().endswith(line)
        shutil.copy(APP / "jobs.py", jobs)
        assert end_of_a_job() == ("finished", "")
        assert output.read_text().count(MISTAKES["a class"][1]) == 2


CHANGED = {
    "another name": ("words: str", "words: Field required; text: Extra inputs are not permitted"),
    "one more": ("text: str, least: int", "least: Field required"),
    "another type": (
        "text: int",
        "text: Input should be a valid integer, unable to parse string as an integer",
    ),
    "none": ("", "text: Extra inputs are not permitted"),
    "a file": ("text: UploadedFile", "text: "),
}


@pytest.mark.parametrize("change", CHANGED)
def test_a_job_whose_function_was_changed_while_it_waited_says_so_in_one_line(
    manager: JobManager, redis_url: str, files_url: str, project: Path, change: str
) -> None:
    parameters, said = CHANGED[change]
    id = manager.launch("count_words", {"text": "a"})[0].id
    (project / "jobs.py").write_text(
        f"from launchpad import UploadedFile, job\n\n\n@job()\ndef count_words({parameters}) -> int:\n    return 1\n"
    )
    environ = environ_of(project) | {"REDIS_URL": redis_url, "FILES_URL": files_url}
    with process(WORKER, project, **environ):
        wait_until(lambda: manager.get(id).state == "failed")
    cause = manager.get(id).error.cause  # type: ignore[union-attr]
    assert cause.startswith(
        "jobs.py, line 4: count_words: it was changed while this job waited, and does not take its arguments any more "
        f"({said}"
    )
    assert cause.endswith("): launch it again")
    assert "pydantic" not in manager.get(id).error.traceback  # type: ignore[union-attr]


def test_an_error_of_nobodys_file_is_told_without_a_place() -> None:
    assert one_line(OSError("no\nspace.")) == "OSError: no space"
