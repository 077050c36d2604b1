"""The stack as it is deployed: built and run by the real `docker compose`, reached through its published ports."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest

from helpers import WORKER, answers, below, copy_project, free_port, wait_until
from local import LocalSettings

ROOT = Path(__file__).resolve().parents[3]
IMAGE = re.findall(r"^  image: (\S+)", (ROOT / "docker-compose.yml").read_text(), re.M)[0]
SERVICES = {"server", "worker", "dashboard", "redis"}
# What the machine that runs the tests has set for its own stack: empty means the default.
UNSET = {name.upper(): "" for name in LocalSettings.model_fields}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    text: str
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def ask(url: str, body: Any = None) -> Answer:
    """GET, or POST the body as JSON."""
    request = Request(url, None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    start = time.monotonic()
    try:
        response = urlopen(request, timeout=10)
    except HTTPError as error:
        response = error
    with response:
        text = response.read().decode()
    return Answer(response.status, response.headers, text, time.monotonic() - start)


def docker(*arguments: str, **environ: str) -> str:
    """Run docker, and return what it wrote; its errors fail the test."""
    done = run(*arguments, **environ)
    assert done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run docker, and return how it ended."""
    environment = os.environ | UNSET | environ
    return subprocess.run(["docker", *arguments], env=environment, capture_output=True, text=True, timeout=300)


class Stack:
    """A stack under a name and on ports of its own, beside any other that runs on this machine."""

    def __init__(self, folder: Path, *files: str):
        self.name = f"test-{uuid4().hex[:8]}"
        self.ports = {"SERVER_PORT": str(free_port()), "DASHBOARD_PORT": str(free_port())}
        self.server = f"http://127.0.0.1:{self.ports['SERVER_PORT']}"
        self.dashboard = f"http://127.0.0.1:{self.ports['DASHBOARD_PORT']}"
        self.command = ["compose", "--project-name", self.name, *(f"--file={folder / file}" for file in files)]

    def compose(self, *arguments: str, **environ: str) -> str:
        return docker(*self.command, *arguments, **self.ports, **environ)

    def start_worker(self) -> None:
        """Start the worker, which waits for Redis, but not for one whose probes have just failed on a busy machine."""
        wait_until(lambda: self.health("redis") == "healthy", 60)
        self.compose("start", "worker")

    def run(self, service: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run one more container of a service until it ends."""
        return run(*self.command, "run", "--rm", "--no-TTY", "--no-deps", service, **self.ports, **environ)

    def shell(self, service: str, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script in a container."""
        return run("exec", self.container(service)["Id"], "sh", "-c", script)

    def stored(self, service: str) -> list[str]:
        """The files that a container sees in the file store."""
        return sorted(self.shell(service, "find /data -type f").stdout.split())

    def containers(self) -> dict[str, Any]:
        """What Docker knows of each container, by service; one where it was scaled."""
        ids = self.compose("ps", "--all", "--quiet").split()
        found = json.loads(docker("inspect", *ids)) if ids else []
        return {container["Config"]["Labels"]["com.docker.compose.service"]: container for container in found}

    def container(self, service: str) -> Any:
        return self.containers()[service]

    def health(self, service: str) -> Any:
        return self.container(service)["State"]["Health"]["Status"]

    def launch(self, seconds: int) -> str:
        """Launch wait(seconds), and return the job's URL."""
        answer = ask(f"{self.server}/api/jobs", {"function": "wait", "arguments": {"num_iterations": seconds}})
        assert answer.status == 202, answer.text
        return self.server + answer.headers["Location"]

    def finish(self, job: str) -> Any:
        """Wait for a job to finish, and return its result."""
        wait_until(lambda: ask(job).json["state"] == "finished", 60)
        return ask(job).json["result"]


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker engine that answers; without one the tests are skipped, but never in CI."""
    try:
        missing = [done.stderr for done in (run("info"), run("compose", "version")) if done.returncode]
    except OSError as error:
        missing = [str(error)]
    if missing and os.environ.get("CI"):
        pytest.fail(missing[0])
    if missing:
        pytest.skip(f"no Docker: {missing[0].strip()}")


@pytest.fixture(scope="module")
def stack(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The production stack, of a copy."""
    yield from up(Stack(copy_repository(tmp_path_factory.mktemp("stack")), "docker-compose.yml"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, to be edited."""
    return copy_repository(tmp_path_factory.mktemp("source"))


def copy_repository(folder: Path) -> Path:
    """Copy what Docker needs, with the app of the tests in the place of what somebody may have made of ours."""
    copy_project(folder)
    for file in ROOT.glob("docker-compose*.yml"):
        shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="module")
def development(engine: None, source: Path) -> Iterator[Stack]:
    """The development stack on the copy; its container names, which are the machine's, made its own."""
    overlay = source / "docker-compose-development.yml"
    stack = Stack(source, "docker-compose.yml", overlay.name)
    overlay.write_text(overlay.read_text().replace("container_name: ", f"container_name: {stack.name}-"))
    yield from up(stack)


def up(stack: Stack) -> Iterator[Stack]:
    try:
        print(stack.name, stack.server)
        stack.compose("up", "--detach", "--build", "--wait")
        yield stack
    finally:
        print(
            run(*stack.command, "logs", "--no-color", "--tail", "100").stdout
        )  # pytest shows it where a test has failed
        stack.compose("down", "--volumes", "--timeout", "15")


# -- what is there


def test_up_returns_when_all_four_are_healthy(stack: Stack) -> None:
    containers = stack.containers()
    assert containers.keys() == SERVICES
    assert {container["State"]["Health"]["Status"] for container in containers.values()} == {"healthy"}


def test_only_the_two_web_ports_are_published_and_only_on_this_machine(stack: Stack) -> None:
    published = {
        service: [(port, binding["HostIp"], binding["HostPort"]) for binding in bindings or []]
        for service, container in stack.containers().items()
        for port, bindings in (container["NetworkSettings"]["Ports"] or {"": None}).items()
    }
    assert published == {
        "server": [("5000/tcp", "127.0.0.1", stack.ports["SERVER_PORT"])],
        "dashboard": [("5555/tcp", "127.0.0.1", stack.ports["DASHBOARD_PORT"])],
        "worker": [],
        "redis": [],
    }


def test_our_containers_share_one_image_and_none_runs_as_root_or_writes_its_files(stack: Stack) -> None:
    containers = stack.containers()
    assert len({containers[service]["Image"] for service in SERVICES - {"redis"}}) == 1
    for service in SERVICES:
        script = "test $(id -u) != 0 && touch /tmp/x && ! touch /app/x && ! touch /x"
        assert stack.shell(service, script).returncode == 0


def test_the_image_has_bytecode_and_no_command_and_nothing_that_only_the_build_needs(stack: Stack) -> None:
    image = json.loads(docker("image", "inspect", IMAGE))[0]["Config"]
    assert image["Cmd"] == ["python3"], "the base image's"
    assert (image["User"], image["WorkingDir"]) == ("999", "/app")
    script = """
        ls /root/.cache /app/tests /app/local.py && exit 1
        for tool in gcc cc make /opt/venv/bin/pip; do command -v $tool && exit 1; done
        find /app /opt/venv -name '*.py' | while read source; do
          ls "$(dirname "$source")/__pycache__/$(basename "$source" .py)".*.pyc >/dev/null || exit 1
        done
    """
    done = stack.shell("server", script)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_container_starts_again_ends_in_time_and_keeps_its_logs_short(stack: Stack) -> None:
    for service, container in stack.containers().items():
        host = container["HostConfig"]
        assert host["RestartPolicy"]["Name"] == "unless-stopped", service
        assert host["Init"] is True, service
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}, service
        assert host["CapDrop"] == ["ALL"], service
        assert container["Config"]["StopTimeout"] >= 15, service


def test_the_worker_is_the_one_that_the_other_tests_use(stack: Stack) -> None:
    assert stack.container("worker")["Config"]["Cmd"] == WORKER


# -- how it works


def test_a_job_is_launched_followed_and_finished(stack: Stack) -> None:
    job = stack.launch(3)
    progress = wait_until(lambda: (ask(job).json["progress"] or {}).get("done") in (1, 2) and ask(job).json["progress"])
    assert progress["total"] == 3
    assert stack.finish(job) == {"type": "json", "value": 3}


DELETE = {
    "the API": lambda stack, id: Request(f"{stack.server}/api/jobs/{id}", method="DELETE"),
    "the dashboard": lambda stack, id: Request(f"{stack.dashboard}/job/{id}/delete", method="POST"),
}


@pytest.mark.parametrize("by", DELETE)
def test_a_file_goes_in_another_comes_out_and_with_its_job_nothing_is_left(
    stack: Stack, tmp_path: Path, by: str
) -> None:
    file = tmp_path / "people.csv"
    file.write_text("name; born\nAda; 1815\n\nAlan; 1912\n")
    send = ["curl", "-sS", f"{stack.server}/api/jobs", "-F", "function=profile_csv", "-F", f"file=@{file}"]
    id = json.loads(subprocess.check_output(send))["id"]
    table = stack.finish(f"{stack.server}/api/jobs/{id}")
    assert [row[:2] for row in table["rows"]] == [["name", "text"], ["born", "integer"]]
    assert ask(stack.server + table["more"][0]["file"]["url"]).text == "name,born\nAda,1815\nAlan,1912\n"
    names = ("people-cleaned.csv", "profile.csv")
    assert stack.stored("worker") == [f"/data/{id}/in/file/0", *(f"/data/{id}/out/{name}" for name in names)]
    with urlopen(DELETE[by](stack, id)):
        assert stack.stored("server") == stack.stored("worker") == []


def test_a_file_is_launched_from_the_terminal_of_a_container(stack: Stack) -> None:
    script = "printf 'a,b\\n1,2\\n' > /tmp/some.csv && flask launch profile-csv --file /tmp/some.csv --follow"
    done = stack.shell("server", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["column,type,missing,distinct,min,max,mean", "a,integer,0,1,1,1,1.0"]


def test_the_page_and_the_dashboard_answer(stack: Stack) -> None:
    page, dashboard = ask(stack.server), ask(stack.dashboard)
    assert (page.status, page.headers.get_content_type()) == (200, "text/html")
    assert (dashboard.status, dashboard.headers.get_content_type()) == (200, "text/html")


def test_workers_are_added_and_taken_away(stack: Stack) -> None:
    def workers() -> Any:
        with suppress(OSError):  # Compose may start the server anew
            return ask(f"{stack.server}/readyz").json["workers"]

    stack.compose("up", "--detach", "--scale", "worker=3")
    wait_until(lambda: workers() == 3)
    stack.compose("up", "--detach", "--scale", "worker=1")
    wait_until(lambda: workers() == 1)


@pytest.mark.parametrize("service", ["server", "dashboard"])
def test_a_wrong_setting_stops_the_start_with_one_line_that_names_it(stack: Stack, service: str) -> None:
    done = stack.run(service, MAX_UPLOAD_MB="abc")
    assert done.returncode != 0
    assert len(done.stderr.splitlines()) == 1
    assert "MAX_UPLOAD_MB" in done.stderr


# -- how it fails


@pytest.mark.parametrize("service", ["server", "dashboard", "redis"])
def test_a_part_that_hangs_fails_its_health_check(stack: Stack, service: str) -> None:
    container = stack.container(service)
    check = ("exec", container["Id"], "timeout", "5", "sh", "-c", container["Config"]["Healthcheck"]["Test"][1])
    with frozen(stack, service):
        assert run(*check).returncode != 0
    assert run(*check).returncode == 0


def test_a_worker_that_hangs_is_unhealthy_after_a_minute(stack: Stack) -> None:
    with frozen(stack, "worker"):
        stack.shell("worker", "touch --date '1 minute ago' /tmp/worker-heartbeat")
        wait_until(lambda: stack.health("worker") == "unhealthy")
    wait_until(lambda: stack.health("worker") == "healthy", 40)


@contextmanager
def frozen(stack: Stack, service: str) -> Iterator[None]:
    """Stop all processes of a container but the first, in the midst of what they do; and let them go on."""
    stack.shell(service, "kill -STOP -1")
    try:
        yield
    finally:
        stack.shell(service, "kill -CONT -1")


@pytest.mark.parametrize(("outage", "end"), [("stop", "start"), ("pause", "unpause")])
def test_an_outage_of_redis_is_told_within_two_seconds_and_loses_nothing(stack: Stack, outage: str, end: str) -> None:
    before = ask(f"{stack.server}/api/jobs").json["jobs"]
    stack.compose(outage, "redis")
    try:

        def refused(body: Any) -> float:
            answer = ask(f"{stack.server}/api/jobs", body)
            assert (answer.status, answer.headers.get_content_type()) == (503, "application/problem+json")
            assert int(answer.headers["Retry-After"]) > 0
            return answer.seconds

        for body in ({"function": "wait"}, None):
            below(2, partial(refused, body))
        assert ask(f"{stack.server}/healthz").status == 200
        assert ask(f"{stack.dashboard}/healthz").status == 503
    finally:
        stack.compose(end, "redis")
    wait_until(lambda: answers(f"{stack.server}/api/jobs"))
    assert ask(f"{stack.server}/api/jobs").json["jobs"] == before
    assert stack.finish(stack.launch(1)) == {"type": "json", "value": 1}


def test_a_crash_of_redis_loses_no_job(stack: Stack) -> None:
    stack.compose("stop", "worker")
    jobs = [stack.launch(1) for _ in range(3)]
    start = stack.container("redis")["State"]["StartedAt"]
    stack.shell("redis", "kill -KILL -1")
    wait_until(lambda: stack.container("redis")["State"]["StartedAt"] > start)
    wait_until(lambda: answers(f"{stack.server}/api/jobs"))
    assert [ask(job).json["position"] for job in jobs] == [1, 2, 3]
    stack.start_worker()
    assert [stack.finish(job)["value"] for job in jobs] == [1, 1, 1]


def test_jobs_are_on_the_volume_and_outlive_the_container_of_redis(stack: Stack) -> None:
    job = stack.launch(1)
    stack.finish(job)
    stack.compose("rm", "--stop", "--force", "--volumes", "redis")
    stack.compose("up", "--detach", "redis")
    wait_until(lambda: answers(job))
    assert ask(job).json["result"] == {"type": "json", "value": 1}


def test_a_worker_that_is_stopped_ends_its_job_as_failed_and_says_why(stack: Stack) -> None:
    job = stack.launch(60)
    wait_until(lambda: ask(job).json["state"] == "started")
    start = time.monotonic()
    stack.compose("stop", "worker")
    assert 25 < time.monotonic() - start < 38, "its grace, and not until Docker kills it after forty"
    assert (ask(job).json["state"], ask(job).json["error"]["cause"]) == (
        "failed",
        "Its worker was shut down while it ran.",
    )
    stack.start_worker()
    assert stack.finish(stack.launch(1)) == {"type": "json", "value": 1}


# -- development


def test_the_development_stack_has_names_and_no_restart_policy(development: Stack) -> None:
    for service, container in development.containers().items():
        assert container["Name"] == f"/{development.name}-{service}"
        assert container["HostConfig"]["RestartPolicy"]["Name"] == "no"
        assert container["State"]["Health"]["Status"] == "healthy"


def test_a_change_to_the_server_shows_at_once(development: Stack, source: Path) -> None:
    server = source / "project" / "server.py"
    changed = server.read_text().replace(
        "    return app", "    app.add_url_rule('/new', view_func=lambda: 'new')\n    return app"
    )
    server.write_text(changed)
    wait_until(lambda: answers(f"{development.server}/new"))


def test_a_change_to_a_template_shows_at_the_next_request(development: Stack, source: Path) -> None:
    assert ask(development.server).status == 200
    template = source / "project/launchpad/web/templates/launchpad/base.html"
    template.write_text(template.read_text().replace("</body>", "<!-- new --></body>"))
    assert "<!-- new -->" in ask(development.server).text


def test_a_change_to_a_function_shows_at_the_next_job_without_a_restart_of_the_worker(
    development: Stack, source: Path
) -> None:
    assert development.finish(development.launch(1))["value"] == 1
    worker = development.container("worker")["State"]
    jobs = source / "project" / "jobs.py"
    changed = jobs.read_text().replace("return num_iterations", "return num_iterations + 41")
    jobs.write_text(changed.replace("Wait for num_iterations seconds.", "Wait, and more."))

    def shows() -> bool:
        with suppress(OSError, HTTPException):  # it is just being restarted
            return "Wait, and more." in ask(f"{development.server}/api/functions").text
        return False

    wait_until(shows)
    assert development.finish(development.launch(1))["value"] == 42
    assert development.container("worker")["State"]["Pid"] == worker["Pid"]


def test_down_leaves_nothing(development: Stack) -> None:
    development.compose("down", "--volumes")
    ours = ("--quiet", "--filter", f"label=com.docker.compose.project={development.name}")
    assert docker("ps", "--all", *ours) + docker("volume", "ls", *ours) + docker("network", "ls", *ours) == ""
