"""What happens in the worker around a function: arguments in, progress and result out."""

import json
import math
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from redis import Redis

import jobs
from launchpad.functions import progress as progress_module
from launchpad.functions.progress import progress
from launchpad.queue.job import Job
from launchpad.worker.runner import run


@pytest.fixture
def reported(redis: Redis) -> Iterator[list[dict[str, Any]]]:
    """Every state of progress that a job saves, as long as the test runs."""
    job = Job.create("jobs.wait", connection=redis, serializer="json")
    job.save()
    states: list[dict[str, Any]] = []
    save = job.save_meta

    def save_and_note() -> None:
        save()
        states.append(Job.fetch(job.id, redis).meta["progress"])

    job.save_meta = save_and_note  # type: ignore[method-assign]
    progress_module.report_to(job)
    yield states
    progress_module.report_to(None)


def test_a_function_outside_the_catalog_is_not_run() -> None:
    with pytest.raises(LookupError, match="no function environ"):
        run("os", "environ", {})
    with pytest.raises(LookupError, match="no function re"):
        run("jobs", "re", {})


def test_the_result_of_a_function_is_described() -> None:
    assert run("jobs", "count_words", {"text": "one two two"}) == {"type": "json", "value": {"two": 2, "one": 1}}


def test_progress_outside_a_worker_is_a_terminal_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(3), desc="Counting")) == [0, 1, 2]
    assert "Counting: 100%" in capsys.readouterr().err


def test_a_million_steps_are_saved_ten_times_a_second_at_most(reported: list[dict[str, Any]]) -> None:
    for _ in progress(range(1_000_000)):
        pass
    seconds = (bar_elapsed := reported[-1])["done"] / bar_elapsed["rate"]
    assert len(reported) <= 2 + seconds * 10
    assert reported[-1]["done"] == reported[-1]["total"] == 1_000_000
    assert [state["percent"] for state in reported] == sorted(state["percent"] for state in reported)


def test_the_last_state_is_saved_when_a_loop_breaks_off(reported: list[dict[str, Any]]) -> None:
    with pytest.raises(ZeroDivisionError), progress(total=100) as bar:
        bar.update(30)
        bar.set_description("Loading")
        raise ZeroDivisionError
    assert (reported[-1]["done"], reported[-1]["percent"], reported[-1]["message"]) == (30, 30.0, "Loading")


def test_an_unknown_total_has_a_count_and_no_percent(reported: list[dict[str, Any]]) -> None:
    for _ in progress(iter([1, 2, 3])):
        pass
    assert {name: reported[-1][name] for name in ("done", "total", "percent", "eta")} == {
        "done": 3, "total": None, "percent": None, "eta": None
    }  # fmt: skip


def test_a_percentage_never_goes_back_and_never_exceeds_a_hundred(reported: list[dict[str, Any]]) -> None:
    with progress(total=10) as bar:
        for step in (4, 4, -5, 3, 20):
            bar.update(step)
            bar.total += 1
            progress_module.save()
    percents = [state["percent"] for state in reported]
    assert percents == sorted(percents)
    assert (percents[-1], reported[-1]["done"]) == (100.0, 26)


def test_nested_bars_and_stages_are_told_with_their_names(reported: list[dict[str, Any]]) -> None:
    for _ in progress(range(2), desc="Files"):
        for _ in progress([b"x" * 10] * 3, desc="Bytes", unit="B"):
            progress_module.save()
    nested = [state for state in reported if state["inner"]]
    assert {(state["message"], state["inner"][0]["message"], state["inner"][0]["unit"]) for state in nested} == {
        ("Files", "Bytes", "B")
    }
    assert (reported[-1]["done"], reported[-1]["inner"]) == (2, [])
    for _ in progress(range(1), desc="Cleaning"):
        pass
    assert reported[-1]["message"] == "Cleaning"


def test_a_disabled_bar_and_one_that_is_left_open_harm_nobody(reported: list[dict[str, Any]]) -> None:
    assert list(progress(range(2), disable=True)) == [0, 1]
    assert reported == []
    bar = progress(total=3)
    bar.update(2)
    progress_module.save()
    assert reported[-1]["done"] == 2
    bar.close()
    bar.close()


def test_the_functions_run_without_redis_and_without_flask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert jobs.wait(2) == 2
    assert os.environ.get("REDIS_URL") is None


def test_whatever_counts_is_a_number_of_json(reported: list[dict[str, Any]]) -> None:
    with progress(total=np.int64(4), desc="caf\udce9.csv") as bar:
        bar.update(np.int64(2))
        progress_module.save()
        assert json.loads(json.dumps(reported[-1], allow_nan=False))["percent"] == 50.0
        bar.update(math.nan)
    assert (reported[-1]["done"], reported[-1]["message"]) == (0, "caf?.csv")
    json.dumps(reported[-1], allow_nan=False)


def test_a_thousand_bars_within_another_are_saved_ten_times_a_second(reported: list[dict[str, Any]]) -> None:
    began = time.monotonic()
    for _ in progress(range(1000)):
        for _ in progress(range(2)):
            pass
    assert len(reported) <= 2 + (time.monotonic() - began) * 10
    assert reported[-1]["done"] == 1000
