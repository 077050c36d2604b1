"""The list: filters, search, and that it stays exact and quick with 100,000 jobs."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from launchpad.queue.estimates import BETWEEN_SECONDS
from launchpad.queue.index import index
from launchpad.queue.job import Job, queue_of
from launchpad.queue.manager import JobManager


def count(manager: JobManager, text: str) -> str:
    id: str = manager.launch("count_words", {"text": text})[0].id
    return id


def wait(manager: JobManager, seconds: int) -> str:
    id: str = manager.launch("wait", {"num_iterations": seconds})[0].id
    return id


def found(manager: JobManager, q: str, **filters: Any) -> list[str]:
    listing = manager.page(q=q, **filters)
    assert listing.total == len(listing.jobs)
    return [job.id for job in listing.jobs]


def test_a_search_finds_the_words_of_arguments_newest_first(manager: JobManager) -> None:
    fox, dog, both = (
        count(manager, "The quick Fox"),
        count(manager, "a lazy dog"),
        count(manager, "fox, dog: Straße 12.5"),
    )
    assert found(manager, "fox") == found(manager, " FOX ") == [both, fox]
    assert found(manager, "dog fox") == [both]
    assert found(manager, "straße") == found(manager, "12.5") == [both]
    assert found(manager, "lazy") == [dog]
    assert found(manager, "text") == found(manager, "laz") == found(manager, "nothing") == found(manager, "?!") == []


def test_a_search_finds_ids_by_how_they_begin(manager: JobManager) -> None:
    id = wait(manager, 3)
    count(manager, id[:8])
    assert found(manager, id) == [id]
    assert id in found(manager, id[:8])
    assert len(found(manager, id[:8])) == 2
    assert found(manager, id[:8], function="wait") == [id]


def test_of_a_text_with_many_words_the_first_are_found_and_the_index_stays_small(
    manager: JobManager, redis: Redis
) -> None:
    words = [f"{number:02}" for number in range(66)]  # all of them are in the description, which is cut
    id = count(manager, " ".join(words))
    assert [found(manager, word) for word in words] == [[id]] * 64 + [[]] * 2
    assert len(redis.keys("rq:launchpad:word:*")) == 64


def test_filters_and_search_work_together(manager: JobManager) -> None:
    three, canceled, text = wait(manager, 3), wait(manager, 3), count(manager, "3 times")
    manager.stop(canceled)
    assert found(manager, "3") == [text, canceled, three]
    assert found(manager, "3", state="canceled") == [canceled]
    assert found(manager, "3", state="queued") == [text, three]
    assert found(manager, "3", state="queued", function="wait") == [three]
    assert found(manager, "times", function="wait") == []


def test_the_counts_are_those_of_the_chosen_function(manager: JobManager) -> None:
    wait(manager, 1), count(manager, "a")
    assert manager.page().counts["queued"] == 2
    assert manager.page(function="wait").counts["queued"] == 1
    assert manager.many([], "wait").counts["queued"] == 1


@pytest.mark.parametrize(
    "q", ["(", "[a", "]", "'", "\\", "%", "a" * 10_000, "wort " * 500, "é", "\x00", "*", "[", "-inf"]
)
def test_no_search_is_an_error(manager: JobManager, q: str) -> None:
    wait(manager, 1)
    assert found(manager, q) == []


def test_nothing_of_a_deleted_job_stays_in_the_index(manager: JobManager, redis: Redis) -> None:
    ids = [count(manager, "some words to be found"), wait(manager, 3)]
    for id in ids:
        manager.delete(id)
    assert redis.keys("rq:launchpad:*") == []


def test_all_jobs_that_match_are_stopped_retried_or_deleted_in_one_go(manager: JobManager) -> None:
    ids = [wait(manager, seconds) for seconds in (1, 1, 2)]
    other = count(manager, "1")
    assert manager.act("stop", "queued", "wait", "1") == (2, "")
    assert manager.act("stop", None, None, "") == (2, ""), "the canceled ones cannot be stopped again"
    assert manager.page().counts["canceled"] == 4
    assert manager.act("retry", "canceled", "wait", "") == (3, "")
    assert manager.act_on("delete", [ids[0], other, "unknown"]) == 2
    assert manager.act("delete", None, None, "") == (2, "")
    assert manager.page().total == 0


def test_an_action_on_many_jobs_goes_on_where_it_ended(manager: JobManager) -> None:
    for _ in range(5):
        wait(manager, 1)
    before, rounds = "+inf", 0
    while before:
        _, before = manager.act("stop", None, None, "", before, seconds=0)
        rounds += 1
        wait(manager, 2)  # what comes meanwhile is not meant
    assert rounds == 6
    assert manager.page().counts | {"queued": 6, "canceled": 5} == manager.page().counts


def seed(redis: Redis, number: int) -> None:
    """Put jobs into Redis as the manager does, a thousand per round trip."""
    template = {"data": "x", "created_at": "2026-11-22T10:00:00.000000Z", "status": "finished", "origin": "default"}
    for start in range(0, number, 1000):
        with redis.pipeline(transaction=False) as pipe:
            for i in range(start, min(start + 1000, number)):
                name = ("wait", "count_words")[i % 2]
                description = f'{name} {{"text": "needle{i % 1000} common", "n": {i}}}'
                state = ("finished", "failed", "canceled", "queued")[i % 4]
                pipe.hset(Job.key_for(f"job-{i}"), mapping=template | {"description": description, "status": state})
                index(pipe, f"job-{i}")
            pipe.execute()


@pytest.mark.long
@pytest.mark.usefixtures("idle_worker")
def test_a_look_at_a_hundred_thousand_jobs_costs_what_a_look_at_a_hundred_costs(
    manager: JobManager, redis: Redis
) -> None:
    redis.hset("rq:launchpad:durations", mapping={"wait": "20 3e6", "count_words": "20 1e6"})
    looks: list[Callable[[], Any]] = [
        manager.page,
        lambda: manager.page(state="failed", function="count_words"),
        lambda: manager.page(q="common"),
        lambda: manager.page(page=3),
    ]

    def commands(look: Callable[[], Any]) -> dict[str, int]:
        look()  # connects
        redis.config_resetstat()
        look()
        return {name: stats["calls"] for name, stats in redis.info("commandstats").items() if "config" not in name}

    seed(redis, 100)
    few = [commands(look) for look in looks]
    seed(redis, 100_000)
    assert manager.page().total == 100_000
    assert manager.page(q="needle7").total == 100
    newest = manager.page(state="queued").jobs[0]
    assert newest.position == 25_000
    assert newest.starts_at.timestamp() == pytest.approx(time.time() + 24_999 * (1 + BETWEEN_SECONDS), abs=9)
    assert [commands(look) for look in looks] == few


def test_a_job_of_somebody_else_on_the_queue_is_shown_too(
    manager: JobManager, redis: Redis, work: Callable[[], None]
) -> None:
    foreign = queue_of(redis).enqueue("math.floor", 2.5)
    odd = queue_of(redis).enqueue("math.floor", 1.5, description="odd [1]")
    assert [job.function for job in manager.page().jobs] == ["odd", "math.floor(2.5)"]
    assert manager.get(foreign.id).arguments == {}
    manager.stop(odd.id)
    manager.retry(odd.id)
    work()
    assert "is not run" in manager.get(foreign.id).error.cause
    manager.delete(odd.id)
