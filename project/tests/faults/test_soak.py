"""Many jobs, and then all of them expired: everything is back where it was."""

import os
import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
import soaking
from scene import FULL, Scene, both_kinds
from test_redis import Server

from helpers import wait_until
from launchpad.queue.job import Job
from launchpad.queue.manager import JobManager
from launchpad.storage import Store

JOBS = {"fresh": 10_000, "warm": 2000} if FULL else {"fresh": 1000, "warm": 1000}
MB = 1024**2


class Use(NamedTuple):
    """What is in use: keys and bytes of Redis, files, and for each process the bytes that it has in memory."""

    keys: Counter[str]
    redis: int
    files: int
    processes: dict[int, int]


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    with closing(Scene(tmp_path, request.param, soaking)) as scene:
        yield scene


def measure(scene: Scene) -> Use:
    scene.redis.memory_purge()
    keys = Counter(key.decode().rpartition(":")[0] for key in scene.redis.scan_iter(count=1000))
    del keys["rq:queue:default:intermediate:first_seen"]  # of jobs that RQ saw being taken; they expire in a day
    files = len(list(Path(scene.settings.files_url).rglob("*")))
    return Use(keys, int(scene.redis.info("memory")["used_memory"]), files, processes(scene))


def processes(scene: Scene) -> dict[int, int]:
    """All that were started for this site: server, workers, their schedulers, log collectors and templates.

    Not the processes that are kept for warm functions, since each failure replaces one.
    """
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            pid = int(folder.name)
            if f"REDIS_URL={scene.url}".encode() not in (folder / "environ").read_bytes():
                continue
            if os.getpgid(pid) != pid or os.getsid(pid) == pid:
                # Resident, shared pages too: to write to a page that a fork shared is no leak.
                found[pid] = int((folder / "statm").read_text().split()[1]) * resource.getpagesize()
    return found


def run(scene: Scene, manager: JobManager, server: Server, number: int) -> None:
    """Run so many jobs, asked for as by a page, and wait until they have expired."""
    for i in range(number):
        manager.launch("leave", {"number": i})
        if i % 20 == 0:
            assert server.status("/api/jobs")[0] == server.status("/")[0] == 200
    wait_until(lambda: scene.redis.llen("rq:queue:default") == 0, 900)
    wait_until(lambda: not any(scene.redis.scan_iter("rq:job:*", 1000)), soaking.KEPT + 60)
    assert server.status("/api/jobs")[0] == server.status("/")[0] == 200
    wait_until(lambda: not scene.redis.exists("rq:launchpad:expiring"), 60)  # what has expired is dropped bit by bit
    registries = ("rq:finished:default", "rq:failed:default", "rq:wip:default")
    wait_until(lambda: scene.redis.exists(*registries) == 0, 60)  # RQ tidies them up each ten seconds
    store = Store(scene.settings.files_url)
    store.sweep(lambda ids: [Job.exists(id, scene.redis) for id in ids], abandoned=0)


@both_kinds
@pytest.mark.long
def test_after_many_jobs_that_have_expired_all_is_where_it_was(scene: Scene) -> None:
    server, manager = Server(scene), scene.manager
    for _ in range(3):
        scene.start_worker()
    assert scene.wait_for(scene.launch("leave", number=1))
    run(scene, manager, server, 100)  # so that all have imported and connected what they need
    before = measure(scene)
    run(scene, manager, server, JOBS[scene.kind])
    after = measure(scene)
    grown = {pid: (bytes - before.processes.get(pid, 0)) / MB for pid, bytes in after.processes.items()}
    growth = (after.redis - before.redis) / MB
    print(f"{JOBS[scene.kind]} jobs: Redis {growth:+.2f} MB, processes {max(grown.values()):+.1f} MB at most")
    assert after.keys == before.keys
    assert after.files == before.files == 0
    assert growth < 1
    assert after.processes.keys() == before.processes.keys()
    assert max(grown.values()) < 5
