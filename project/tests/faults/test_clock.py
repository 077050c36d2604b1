"""The clock of the machine is set back by an hour, for Redis, workers and jobs alike."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from scene import TRUTH, Scene, kill, processes_of
from test_redis import Server, steps

from helpers import wait_until

HOUR = 3600


# Loaded in front of the C library: the clock of the day is an hour behind as soon as there is a file. (Debian's
# libfaketime would do it, but breaks time.sleep(), and what the kernel calls a time namespace has no clock of the day.)
SHIM = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long back(void) { return access(getenv("CLOCK_SET_BACK"), F_OK) == 0 ? 3600 : 0; }
int clock_gettime(clockid_t id, struct timespec *t) {
  int failed = syscall(SYS_clock_gettime, id, t);
  if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) t->tv_sec -= back();
  return failed;
}
int gettimeofday(struct timeval *t, void *zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  t->tv_sec = now.tv_sec;
  t->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *t) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return t ? (*t = now.tv_sec) : now.tv_sec;
}
"""


@pytest.fixture
def set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Sets the clock back of all that is started after this; without a compiler the test is skipped, but not in CI."""
    if not shutil.which("cc") and not os.environ.get("CI"):
        pytest.skip("There is no C compiler.")
    shim, switch = tmp_path / "shim.so", tmp_path / "switch"
    compile = ["cc", "-shared", "-fPIC", "-o", str(shim), "-x", "c", "-"]
    subprocess.run(compile, input=SHIM.encode(), check=True)
    monkeypatch.setenv("CLOCK_SET_BACK", str(switch))
    monkeypatch.setenv("LD_PRELOAD", str(shim))
    return switch.touch


@pytest.mark.long
@pytest.mark.parametrize("kind", ["fresh", "warm"])
def test_a_clock_that_is_set_back_an_hour_ends_no_job_and_delays_none(
    set_back: Callable[[], None], tmp_path: Path, kind: str
) -> None:
    scene = Scene(tmp_path, kind)
    with closing(scene):
        workers = [scene.start_worker() for _ in range(3)]
        server = Server(scene)
        enough = tmp_path / "enough"
        working, lost = scene.launch("work", until=str(enough)), scene.launch("rest", seconds=100)
        ending = scene.launch("rest", seconds=5)
        wait_until(lambda: steps(scene, working) and scene.runs(ending) and scene.runs(lost))
        set_back()
        wait_until(lambda: scene.redis.time()[0] < time.time() - HOUR + 60)
        before = steps(scene, working)
        wait_until(lambda: steps(scene, working) > before + 20)
        scene.wait_for(ending)
        for how in ("a sleep", "a call of C"):
            cause = scene.wait_for(scene.launch("take_too_long", how=how), "failed", TRUTH).error.cause
            assert cause == "It took longer than its limit of 2 seconds."
        # A worker is lost, and the scheduler that had the lock: another one must find the job, and take over.
        [victim] = [worker for worker in workers if scene.runs(lost)[0].pid in processes_of(worker)]
        kill(victim)
        with suppress(ProcessLookupError):
            os.kill(holder(scene), signal.SIGKILL)
        assert scene.wait_for(lost, "failed", TRUTH).error.cause == "Its worker was lost while it ran."
        at = datetime.now(UTC) - timedelta(seconds=HOUR - 3)
        body = {"function": "wait", "arguments": {"num_iterations": 1}, "scheduled_at": at.isoformat()}
        status, _, text = server.status("/api/jobs", json.dumps(body).encode())
        assert (status, json.loads(text)["state"]) == (202, "scheduled")
        scene.wait_for(json.loads(text)["id"], seconds=3 + TRUTH)
        enough.touch()
        assert scene.wait_for(working).attempt == 1
        assert scene.ran_twice() == []


def holder(scene: Scene) -> int:
    """The process of the scheduler that has the lock."""
    name = scene.redis.get("rq:scheduler-lock:default").decode()
    return int(scene.redis.hget(f"rq:scheduler:{name}", "pid") or 0)
