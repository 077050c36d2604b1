"""When a job that waits will start: the estimate, against what then happens on real workers."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis

import sleepers
from helpers import WORKER, below, functions_of, process, wait_until
from launchpad.functions.catalog import collect
from launchpad.queue.estimates import BETWEEN_SECONDS
from launchpad.queue.job import queue_of
from launchpad.queue.manager import JobManager
from launchpad.settings import Settings
from launchpad.web.formatting import queue_position


@pytest.fixture
def manager(settings: Settings) -> Iterator[JobManager]:
    """A manager whose functions take a known time."""
    manager = JobManager(settings, collect(sleepers))
    yield manager
    manager.redis.close()


@contextmanager
def working(manager: JobManager, settings: Settings, workers: int) -> Iterator[None]:
    """Run real workers, which find these functions."""
    folder = Path(settings.files_url).parent
    environ = {"REDIS_URL": settings.redis_url, "FILES_URL": settings.files_url, **functions_of("sleepers", folder)}
    if not workers:
        yield
        return
    with process(WORKER, **environ), working(manager, settings, workers - 1):
        wait_until(lambda: manager.page().workers.total >= workers)
        yield


def launch(manager: JobManager, name: str, amount: float) -> str:
    parameter = next(iter(manager.functions[name].model.model_fields))
    id: str = manager.launch(name, {parameter: amount})[0].id
    return id


def run(manager: JobManager, name: str, amount: float) -> None:
    id = launch(manager, name, amount)
    wait_until(lambda: manager.get(id).ended_at)


def warm_up(manager: JobManager, workers: int) -> None:
    """Let each worker run a job: the first one that a process runs takes longer, for it imports jobs.py."""
    ids = [launch(manager, "count_sheep", 1) for _ in range(workers)]
    wait_until(lambda: all(manager.get(id).ended_at for id in ids))


def starts_in(manager: JobManager, id: str) -> float | None:
    """In how many seconds a job is said to start."""
    at = manager.get(id).starts_at
    return (at - datetime.now(UTC)).total_seconds() if at else None


def error(manager: JobManager, launches: list[tuple[str, float]], running: int) -> float:
    """Launch jobs, estimate when those that wait start, and tell by how many seconds the worst estimate was wrong."""
    ids = [launch(manager, *one) for one in launches]
    wait_until(lambda: manager.page().counts["started"] == running and manager.get(ids[running]).position == 1)
    estimates = {job.id: job.starts_at.timestamp() for job in manager.many(ids[running:]).jobs}
    assert len(estimates) == len(ids) - running
    wait_until(lambda: not sum(manager.page().counts[state] for state in ("queued", "started")))
    return max(abs(manager.get(id).started_at.timestamp() - estimate) for id, estimate in estimates.items())


@pytest.mark.long
def test_two_workers_start_equal_jobs_when_it_was_said(manager: JobManager, settings: Settings) -> None:
    with working(manager, settings, 2):
        warm_up(manager, 2)
        run(manager, "nap", 1.5)
        # Half a job, over eight positions and six seconds.
        below(0.75, lambda: error(manager, [("nap", 1.5)] * 10, running=2))


@pytest.mark.long
def test_two_workers_start_mixed_jobs_nearly_when_it_was_said(manager: JobManager, settings: Settings) -> None:
    with working(manager, settings, 2):
        warm_up(manager, 2)
        run(manager, "nap", 2), run(manager, "doze", 0.5)
        mixed = [("nap", 2.0), ("nap", 2.0), *[("doze", 0.5), ("nap", 2.0), ("doze", 0.5)] * 3]
        below(2.25, lambda: error(manager, mixed, running=2))  # one longer job: their order is not known


def test_a_running_job_ends_when_its_bar_says(manager: JobManager, settings: Settings) -> None:
    def error() -> float:
        sheep = launch(manager, "count_sheep", 4)
        behind = launch(manager, "nap", 0)
        wait_until(lambda: (progress := manager.get(sheep).progress) and progress.eta)
        estimate = manager.get(behind).starts_at.timestamp()
        wait_until(lambda: manager.get(behind).ended_at)
        return abs(manager.get(behind).started_at.timestamp() - estimate)

    with working(manager, settings, 1):
        below(0.75, error)


def test_the_estimate_follows_how_long_a_function_took_lately(
    manager: JobManager, redis: Redis, settings: Settings, request: pytest.FixtureRequest
) -> None:
    with working(manager, settings, 1):
        warm_up(manager, 1)
        run(manager, "nap", 1)
        redis.hset("rq:launchpad:durations", "doze", "20 60e6")  # it took a minute, twenty times
        for _ in range(20):
            run(manager, "doze", 0)
    request.getfixturevalue("idle_worker")  # not before: a real worker clears away what is none
    launch(manager, "nap", 1)
    second, third = launch(manager, "doze", 0), launch(manager, "doze", 0)
    nap = starts_in(manager, second)
    assert nap == pytest.approx(1 + BETWEEN_SECONDS, abs=1), "and not a minute"
    assert starts_in(manager, third) - nap == pytest.approx(60 * 0.95**20, rel=0.1)  # each run counts a twentieth


def test_where_nothing_is_known_there_is_no_estimate(manager: JobManager, settings: Settings, redis: Redis) -> None:
    with working(manager, settings, 1):
        run(manager, "nap", 0.2)
        busy = launch(manager, "doze", 60)  # never ended yet, and it shows no bar
        wait_until(lambda: manager.get(busy).attempt)
        behind = launch(manager, "nap", 0)
        assert (manager.get(behind).position, manager.get(behind).starts_at) == (1, None)
        assert manager.get(busy).starts_at is None
        later = manager.launch("nap", {"seconds": 0}, at=datetime.now(UTC) + timedelta(hours=1))[0]
        assert later.starts_at is None
        manager.stop(busy)
        wait_until(lambda: manager.get(behind).state == "finished")
    alone = launch(manager, "nap", 0)
    wait_until(lambda: not manager.page().workers.total)
    assert manager.get(alone).starts_at is None, "there is no worker"


@pytest.mark.usefixtures("idle_worker")
def test_an_unknown_job_in_front_hides_the_start_of_those_behind_it_only(manager: JobManager, redis: Redis) -> None:
    redis.hset("rq:launchpad:durations", "nap", "1 10e6")
    first, second, doze, third = (launch(manager, name, 1) for name in ("nap", "nap", "doze", "nap"))
    foreign = queue_of(redis).enqueue("math.floor", 2.5)
    index_of_last = launch(manager, "nap", 1)
    assert [starts_in(manager, id) for id in (first, second, doze)] == [
        pytest.approx(seconds, abs=3) for seconds in (0, 10, 20)
    ]
    assert starts_in(manager, third) is None
    manager.stop(doze)
    assert starts_in(manager, third) == pytest.approx(20, abs=3), "what was canceled is no longer in front"
    assert starts_in(manager, index_of_last) is None
    foreign.delete()
    manager.delete(first)
    assert starts_in(manager, index_of_last) == pytest.approx(20, abs=3)
    redis.delete("rq:launchpad:durations")
    assert starts_in(manager, third) is None, "a Redis that has no durations"


def test_what_failed_kept_a_worker_busy_and_what_was_stopped_or_deleted_says_nothing(
    manager: JobManager, settings: Settings, redis: Redis
) -> None:
    with working(manager, settings, 1):
        run(manager, "toss", 0.5)
        for end in (manager.stop, manager.delete):
            id = launch(manager, "nap", 60)
            wait_until(lambda id=id: manager.get(id).attempt)
            end(id)
            wait_until(lambda: not manager.page().counts["started"])
        queue_of(redis).enqueue("math.floor", 2.5)
        run(manager, "doze", 0)
    [(failed, took), (doze, _)] = sorted(redis.hgetall("rq:launchpad:durations").items(), reverse=True)
    assert (failed, doze) == (b"toss", b"doze")
    assert 0.5 <= float(took.split()[1]) / 1e6 < 5
    assert not redis.exists("rq:launchpad:running", "rq:launchpad:waiting:nap")


def test_a_look_at_the_queue_costs_as_many_commands_for_each_function_in_it(
    manager: JobManager, idle_worker: None
) -> None:
    manager.redis.hset("rq:launchpad:durations", mapping=dict.fromkeys(manager.functions, "1 1e6"))

    def commands() -> int:
        manager.redis.config_resetstat()
        manager.page(per_page=1)
        return sum(stats["calls"] for name, stats in manager.redis.info("commandstats").items() if "config" not in name)

    launch(manager, "nap", 1), manager.page()
    one = commands()
    for _ in range(50):
        launch(manager, "nap", 1)
    assert commands() == one
    launch(manager, "doze", 1)
    assert commands() <= one + 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "starts any moment"),
        (1, "starts any moment"),
        (2.2, "starts in about 2 s"),
        (37, "starts in about 35 s"),
        (88, "starts in about 90 s"),
        (97, "starts in about 2 min"),
        (89 * 60, "starts in about 90 min"),
        (3 * 3600 + 1200, "starts in about 3 h"),
        (50 * 3600, "starts in about 2 d"),
    ],
)
def test_a_start_is_told_as_a_person_would(seconds: float, words: str) -> None:
    starts_at = datetime.now(UTC) + timedelta(seconds=seconds)
    assert queue_position(3, starts_at) == f"Number 3 in the queue · {words}"
    assert queue_position(3, None) == "Number 3 in the queue"
