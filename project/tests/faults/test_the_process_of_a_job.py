"""The process of a job ends in every way but the intended one, or not in time."""

import time
from functools import partial

import pytest
from scene import KILLED, TRUTH, Scene, Worker, both_kinds, processes_of
from victims import ENDS, OVERDUE

from helpers import alive, below, wait_until
from launchpad.queue import schemas
from launchpad.settings import Settings
from launchpad.worker.ending import ABORT_SECONDS

pytestmark = [both_kinds, pytest.mark.long]
ENDED = "Its process ended without a result."
CAUSES = {
    "kill -9": KILLED,
    "a segfault": "Its process was ended by signal 11.",
    "abort": "Its process was ended by signal 6.",
    "os._exit(0)": ENDED,
    "os._exit(1)": ENDED,
    "sys.exit()": "SystemExit",
    "sys.exit(0)": "SystemExit: 0",
    "sys.exit('no')": "SystemExit: no",
    "a memory limit": "It needed more memory than there is.",
}


def test_however_a_process_ends_its_job_fails_within_a_second_and_the_next_one_begins(
    scene: Scene, worker: Worker
) -> None:
    assert CAUSES.keys() == ENDS.keys()

    def end_by(how: str) -> float:
        """Tell how long it took until the job had failed and the next one had begun."""
        id, following = scene.launch("end_by", how=how), scene.launch("rest")
        wait_until(lambda: scene.state(id) == "failed")
        noticed = time.time()
        scene.wait_for(following)
        [run] = scene.runs(id)
        assert scene.cause(id).partition("; it had ")[0] == CAUSES[how]
        scene.check([id, following])
        if how == "a segfault":
            wait_until(lambda: any("in end_by" in line.text for line in scene.manager.log(id, 0).lines))
        return max(noticed, scene.runs(following)[0].began) - run.began

    for how in CAUSES:
        below(1, partial(end_by, how))
    assert worker.poll() is None


def test_the_children_of_a_killed_job_end_with_it(scene: Scene, worker: Worker) -> None:
    id = scene.launch("leave_a_child")
    scene.wait_for(id, "failed")
    [line] = scene.log(id)
    wait_until(lambda: not alive(int(line)))


def test_a_job_has_no_second_life_when_only_its_worker_is_killed(scene: Scene, worker: Worker) -> None:
    for function in ("rest", "rest_again"):
        id = scene.launch(function, seconds=3600)
        [run] = wait_until(lambda id=id: scene.runs(id))
        worker.kill()
        worker.wait()
        wait_until(lambda run=run: not alive(run.pid))
        worker = scene.start_worker()
        if function == "rest":
            assert scene.wait_for(id, "failed", TRUTH).error.cause == "Its worker was lost while it ran."
            assert len(scene.runs(id)) == 1
        else:
            wait_until(lambda id=id: len(scene.runs(id)) == 2, TRUTH)
            assert scene.runs(id)[1].pid in processes_of(worker)
            scene.manager.stop(id)
            scene.wait_for(id, "stopped")


def test_the_children_of_a_job_end_with_its_killed_worker_and_hide_nothing(scene: Scene, worker: Worker) -> None:
    id = scene.launch("have_children")
    children = [int(pid) for pid in scene.log(id)[0].split()]
    assert all(map(alive, children))
    worker.kill()
    wait_until(lambda: not any(map(alive, children)))
    scene.start_worker()
    assert scene.wait_for(id, "failed", TRUTH).error.cause == "Its worker was lost while it ran."


def lasted(job: schemas.Job) -> float:
    assert job.started_at
    assert job.ended_at
    return (job.ended_at - job.started_at).total_seconds()


def test_a_job_that_takes_too_long_fails_and_says_so_whatever_it_does(scene: Scene) -> None:
    scene.start_worker(), scene.start_worker(), scene.start_worker()
    ids = {how: scene.launch("take_too_long", how=how) for how in OVERDUE}
    wait_until(lambda: scene.ended() == len(OVERDUE), 60)
    for how, id in ids.items():
        job = scene.job(id)
        assert (job.state, job.error.cause) == ("failed", "It took longer than its limit of 2 seconds."), how
        hard = how in ("a call of C", "except, and go on")
        assert lasted(job) < 2 + (Settings().stop_seconds + ABORT_SECONDS if hard else 0) + 4, how
    scene.check(list(ids.values()))
    log = [line.text for line in scene.manager.log(ids["a call of C"], 0).lines]
    assert any("in sum_for_ever" in line for line in log), "the log tells where it was"
