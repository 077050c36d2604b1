"""The list: filters, search, and that it stays exact and quick with 100,000 jobs."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from redis import Redis

from launchpad.board import Board
from launchpad.estimate import BETWEEN
from launchpad.index import Job, index, queue_of


def count(board: Board, text: str) -> str:
    id: str = board.launch("count_words", {"text": text})[0]["id"]
    return id


def wait(board: Board, seconds: int) -> str:
    id: str = board.launch("wait", {"num_iterations": seconds})[0]["id"]
    return id


def found(board: Board, q: str, **filters: Any) -> list[str]:
    listing = board.page(q=q, **filters)
    assert listing["total"] == len(listing["jobs"])
    return [job["id"] for job in listing["jobs"]]


def test_a_search_finds_the_words_of_arguments_newest_first(board: Board) -> None:
    fox, dog, both = count(board, "The quick Fox"), count(board, "a lazy dog"), count(board, "fox, dog: Straße 12.5")
    assert found(board, "fox") == found(board, " FOX ") == [both, fox]
    assert found(board, "dog fox") == [both]
    assert found(board, "straße") == found(board, "12.5") == [both]
    assert found(board, "lazy") == [dog]
    assert found(board, "text") == found(board, "laz") == found(board, "nothing") == found(board, "?!") == []


def test_a_search_finds_ids_by_how_they_begin(board: Board) -> None:
    id = wait(board, 3)
    count(board, id[:8])
    assert found(board, id) == [id]
    assert id in found(board, id[:8])
    assert len(found(board, id[:8])) == 2
    assert found(board, id[:8], function="wait") == [id]


def test_filters_and_search_work_together(board: Board) -> None:
    three, canceled, text = wait(board, 3), wait(board, 3), count(board, "3 times")
    board.stop(canceled)
    assert found(board, "3") == [text, canceled, three]
    assert found(board, "3", state="canceled") == [canceled]
    assert found(board, "3", state="queued") == [text, three]
    assert found(board, "3", state="queued", function="wait") == [three]
    assert found(board, "times", function="wait") == []


def test_the_counts_are_those_of_the_chosen_function(board: Board) -> None:
    wait(board, 1), count(board, "a")
    assert board.page()["counts"]["queued"] == 2
    assert board.page(function="wait")["counts"]["queued"] == 1
    assert board.many([], "wait")["counts"]["queued"] == 1


@pytest.mark.parametrize(
    "q", ["(", "[a", "]", "'", "\\", "%", "a" * 10_000, "wort " * 500, "é", "\x00", "*", "[", "-inf"]
)
def test_no_search_is_an_error(board: Board, q: str) -> None:
    wait(board, 1)
    assert found(board, q) == []


def test_nothing_of_a_deleted_job_stays_in_the_index(board: Board, redis: Redis) -> None:
    ids = [count(board, "some words to be found"), wait(board, 3)]
    for id in ids:
        board.delete(id)
    assert redis.keys("rq:launchpad:*") == []


def test_all_jobs_that_match_are_stopped_retried_or_deleted_in_one_go(board: Board) -> None:
    ids = [wait(board, seconds) for seconds in (1, 1, 2)]
    other = count(board, "1")
    assert board.act("stop", "queued", "wait", "1") == (2, "")
    assert board.act("stop", None, None, "") == (2, ""), "the canceled ones cannot be stopped again"
    assert board.page()["counts"]["canceled"] == 4
    assert board.act("retry", "canceled", "wait", "") == (3, "")
    assert board.act_on("delete", [ids[0], other, "unknown"]) == 2
    assert board.act("delete", None, None, "") == (2, "")
    assert board.page()["total"] == 0


def test_an_action_on_many_jobs_goes_on_where_it_ended(board: Board) -> None:
    for _ in range(5):
        wait(board, 1)
    before, rounds = "+inf", 0
    while before:
        _, before = board.act("stop", None, None, "", before, seconds=0)
        rounds += 1
        wait(board, 2)  # what comes meanwhile is not meant
    assert rounds == 6
    assert board.page()["counts"] | {"queued": 6, "canceled": 5} == board.page()["counts"]


def seed(redis: Redis, number: int) -> None:
    """Put jobs into Redis as the board does, a thousand per round trip."""
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


@pytest.mark.usefixtures("idle_worker")
def test_a_look_at_a_hundred_thousand_jobs_costs_what_a_look_at_a_hundred_costs(board: Board, redis: Redis) -> None:
    redis.hset("rq:launchpad:durations", mapping={"wait": "20 3e6", "count_words": "20 1e6"})
    looks: list[Callable[[], Any]] = [
        board.page,
        lambda: board.page(state="failed", function="count_words"),
        lambda: board.page(q="common"),
        lambda: board.page(page=3),
    ]

    def commands(look: Callable[[], Any]) -> dict[str, int]:
        look()  # connects
        redis.config_resetstat()
        look()
        return {name: stats["calls"] for name, stats in redis.info("commandstats").items() if "config" not in name}

    seed(redis, 100)
    few = [commands(look) for look in looks]
    seed(redis, 100_000)
    assert board.page()["total"] == 100_000
    assert board.page(q="needle7")["total"] == 100
    newest = board.page(state="queued")["jobs"][0]
    assert newest["position"] == 25_000
    assert datetime.fromisoformat(newest["starts_at"]).timestamp() == pytest.approx(
        time.time() + 24_999 * (1 + BETWEEN), abs=9
    )
    assert [commands(look) for look in looks] == few


def test_a_job_of_somebody_else_on_the_queue_is_shown_too(board: Board, redis: Redis, work: Callable[[], None]) -> None:
    foreign = queue_of(redis).enqueue("math.floor", 2.5)
    odd = queue_of(redis).enqueue("math.floor", 1.5, description="odd [1]")
    assert [job["function"] for job in board.page()["jobs"]] == ["odd", "math.floor(2.5)"]
    assert board.get(foreign.id)["arguments"] == {}
    board.stop(odd.id)
    board.retry(odd.id)
    work()
    assert "is not run" in board.get(foreign.id)["error"]["cause"]
    board.delete(odd.id)
