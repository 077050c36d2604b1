"""Containers are killed, removed, stopped, restarted and replaced while their jobs run."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.error import URLError

import pytest
import test_stack
from test_stack import IMAGE, ROOT, Stack, ask, docker, run, up

from helpers import copy_project, wait_until
from launchpad.queue.states import ENDED

pytestmark = pytest.mark.long
engine = test_stack.engine

GRACE = 10  # seconds that a running job has when its worker is told to end
TRUTH = 15  # seconds after an event in which the API must tell it
START = 15  # seconds more where containers must be started first, on a machine that does other things too
WORKERS = 3

# The functions of the other tests of faults, which write down each of their runs where all containers can.
JOBS = "from victims import rest, rest_again\n"
RECORD = "  environment: &settings\n    RECORD: /data/record\n"

# Printed by a container that may ask Redis: where each job is, and in which container each worker.
LOOK = """
import json
from launchpad.queue.manager import JobManager
from launchpad.settings import Settings
redis = JobManager(Settings.from_environ(), {}).redis
places, hosts = {}, {}
for name in ("finished", "failed", "canceled", "scheduled", "deferred", "wip"):
    for key in redis.zrange(f"rq:{name}:default", 0, -1):
        places.setdefault(key.decode().partition(":")[0], []).append(name)
for name in ("queue:default", "queue:default:intermediate"):
    for id in redis.lrange(f"rq:{name}", 0, -1):
        places.setdefault(id.decode(), []).append(name)
for worker in redis.smembers("rq:workers:default"):
    hosts[worker.decode().removeprefix("rq:worker:")] = (redis.hget(worker, "hostname") or b"").decode()
print(json.dumps([places, hosts]))
"""


class Site(Stack):
    """A stack whose image is its own, since it is to be replaced."""

    def __init__(self, folder: Path):
        super().__init__(folder, "docker-compose.yml")
        self.folder = folder

    def up(self, *arguments: str) -> None:
        self.compose("up", "--detach", "--wait", "--scale", f"worker={WORKERS}", *arguments)

    def workers(self) -> list[str]:
        return self.compose("ps", "--all", "--quiet", "worker").split()

    def start(self, function: str, seconds: float) -> str:
        answer = ask(f"{self.server}/api/jobs", {"function": function, "arguments": {"seconds": seconds}})
        assert answer.status == 202, answer.text
        return str(answer.json["id"])

    def job(self, id: str) -> Any:
        with suppress(OSError):  # the server may be replaced at this moment
            return ask(f"{self.server}/api/jobs/{id}").json
        return {"state": None}

    def look(self) -> tuple[dict[str, list[str]], dict[str, str]]:
        done = run("exec", self.container("server")["Id"], "python", "-c", LOOK)
        assert done.returncode == 0, done.stderr
        places, hosts = json.loads(done.stdout)
        return places, hosts

    def runs(self, id: str) -> str:
        return self.shell("server", f"grep --count {id} /data/record").stdout.strip()

    def wait_for(self, id: str, state: str, seconds: float) -> Any:
        wait_until(lambda: self.job(id)["state"] in ENDED, seconds)
        assert self.job(id)["state"] == state, self.job(id)
        return self.job(id)

    def check(self, ids: list[str]) -> None:
        """Check the promise: each has ended, and is in the registry of its state and in no other."""
        places, _ = self.look()
        for id in ids:
            job = self.job(id)
            assert job["state"] in ENDED, job
            assert places[id] == [job["state"]], (job, places[id])


@pytest.fixture(scope="module")
def site(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The production stack of a copy of the repository."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "project/tests/faults/victims.py", copy_project(folder, JOBS))
    site = Site(folder)
    compose = (ROOT / "docker-compose.yml").read_text().replace(f"image: {IMAGE}", f"image: {site.name}")
    compose = compose.replace("GRACE_SECONDS:-}", f"GRACE_SECONDS:-{GRACE}}}")
    (folder / "docker-compose.yml").write_text(compose.replace("  environment: &settings\n", RECORD, 1))
    yield from up(site)
    run("image", "rm", "--force", site.name)


@pytest.fixture
def workers(site: Site) -> Callable[[], int]:
    """All workers are there, and idle; answers how many there are."""

    def number() -> int:
        with suppress(OSError):
            return int(ask(f"{site.server}/readyz").json["workers"])
        return 0

    site.up()
    wait_until(lambda: number() == WORKERS, 60)
    return number


ABRUPT: dict[str, Callable[[list[str]], object]] = {
    "docker kill": lambda ids: docker("kill", *ids),
    "docker rm --force": lambda ids: docker("rm", "--force", *ids),
    "two SIGTERM": lambda ids: terminate_twice(ids),
}


def terminate_twice(containers: list[str]) -> None:
    docker("kill", "--signal", "TERM", *containers)
    first = time.monotonic()
    wait_until(lambda: time.monotonic() - first > 1.5)  # RQ takes two within a second for one
    docker("kill", "--signal", "TERM", *containers)


@pytest.mark.parametrize("fault", ABRUPT)
def test_what_a_lost_container_ran_fails_or_is_run_again(site: Site, workers: Callable[[], int], fault: str) -> None:
    once, again = site.start("rest", 60), site.start("rest_again", 5)
    wait_until(lambda: {site.job(id)["state"] for id in (once, again)} == {"started"})
    _, hosts = site.look()
    ABRUPT[fault]([hosts[site.job(id)["worker"]] for id in (once, again)])
    lost = time.monotonic()
    cause = site.wait_for(once, "failed", TRUTH)["error"]["cause"]
    wait_until(lambda: workers() == WORKERS - 2, lost + TRUTH - time.monotonic())
    wait_until(lambda: site.job(again)["attempt"] == 2, lost + TRUTH - time.monotonic())
    site.wait_for(again, "finished", 5 + TRUTH)
    assert [site.runs(id) for id in (once, again)] == ["1", "2"]
    site.check([once, again])
    print(f"{fault}: {cause} {time.monotonic() - lost:.1f} s until all had ended")


def test_what_the_last_workers_ran_fails_though_no_other_one_is_there(site: Site, workers: Callable[[], int]) -> None:
    jobs = [site.start("rest", 60) for _ in range(WORKERS)]
    wait_until(lambda: {site.job(id)["state"] for id in jobs} == {"started"})
    docker("kill", *site.workers())  # which Docker takes for the wish of a person, and starts none of them again
    for id in jobs:
        assert site.wait_for(id, "failed", TRUTH)["error"]["cause"] == "Its worker was lost while it ran."
    assert ask(f"{site.server}/readyz").status == 503
    site.check(jobs)


def test_a_container_whose_worker_is_killed_comes_back(site: Site, workers: Callable[[], int]) -> None:
    jobs = [site.start("rest", 60) for _ in range(WORKERS)]
    wait_until(lambda: {site.job(id)["state"] for id in jobs} == {"started"})
    for container in site.workers():
        run("exec", container, "sh", "-c", "kill -KILL -1")
    for id in jobs:
        site.wait_for(id, "failed", TRUTH + START)
    wait_until(lambda: workers() == WORKERS, START)
    assert [site.runs(id) for id in jobs] == ["1"] * WORKERS
    site.check(jobs)


AGAIN = 16  # seconds, of a job that has not ended when the time of grace is over, on a busy machine either
STOPS: dict[str, Callable[[Site], object]] = {
    "docker compose restart worker": lambda site: site.compose("restart", "worker"),
    "docker stop": lambda site: [docker("stop", *site.workers()), docker("start", *site.workers())],
}


@pytest.mark.parametrize("stop", STOPS)
def test_a_job_that_can_finish_in_its_time_does_when_its_container_is_stopped(
    site: Site, workers: Callable[[], int], stop: str
) -> None:
    short, long, again = site.start("rest", 4), site.start("rest", 60), site.start("rest_again", AGAIN)
    wait_until(lambda: {site.job(id)["state"] for id in (short, long, again)} == {"started"})
    waiting = site.start("rest", 0)
    STOPS[stop](site)
    assert site.job(short)["result"]["value"] == "rested"
    assert site.wait_for(long, "failed", TRUTH)["error"]["cause"] == "Its worker was shut down while it ran."
    for id in (again, waiting):
        site.wait_for(id, "finished", AGAIN + START + TRUTH)
    assert [site.runs(id) for id in (short, long, again, waiting)] == ["1", "1", "2", "1"]
    site.check([short, long, again, waiting])


def test_a_deploy_during_jobs_loses_none(site: Site, workers: Callable[[], int]) -> None:
    before = set(site.workers())
    victims = site.folder / "project/victims.py"
    victims.write_text(victims.read_text().replace('return "rested"', 'return "rested anew"'))
    site.compose("build")  # which takes its time on a busy machine, and changes nothing yet
    short, long, again = site.start("rest", 4), site.start("rest", 60), site.start("rest_again", AGAIN)
    wait_until(lambda: {site.job(id)["state"] for id in (short, long, again)} == {"started"})
    accepted: list[str] = []
    deployed = Event()

    def launch() -> None:
        while not deployed.wait(0.2):
            with suppress(URLError, ConnectionError):  # the server is being replaced: it has accepted nothing
                accepted.append(site.start("rest", 0))

    launcher = Thread(target=launch)
    launcher.start()
    try:
        site.up()
    finally:
        deployed.set()
        launcher.join()
    assert not before & set(site.workers())
    assert site.job(short)["result"]["value"] == "rested"
    assert site.wait_for(long, "failed", TRUTH)["error"]["cause"] == "Its worker was shut down while it ran."
    for id in (again, *accepted):
        site.wait_for(id, "finished", AGAIN + START + TRUTH)
    assert site.job(again)["result"]["value"] == site.job(accepted[-1])["result"]["value"] == "rested anew"
    assert [site.runs(id) for id in (short, long, again)] == ["1", "1", "2"]
    assert {site.runs(id) for id in accepted} == {"1"}
    site.check([short, long, again, *accepted])
    print(f"{len(accepted)} jobs were launched during the deploy")
