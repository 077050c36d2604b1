"""The processes that wait for a job, and the template that has forked them, are killed."""

import os
import signal

import pytest
from scene import Scene, Worker, both_kinds, template_of

from helpers import alive, horses, wait_until
from launchpad.queue.states import ENDED

pytestmark = [both_kinds, pytest.mark.long]


def waiting(scene: Scene, worker: Worker) -> int:
    """The process that waits for the next job: it is kept, or was forked ahead."""
    id = scene.launch("rest")
    scene.wait_for(id)
    [run] = scene.runs(id)
    return wait_until(lambda: next((pid for pid in [run.pid, *horses(worker)] if alive(pid)), 0))


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid))


def check_that_it_runs_elsewhere(scene: Scene, id: str, pid: int) -> None:
    assert scene.wait_for(id).attempt == 1
    [run] = scene.runs(id)
    assert run.pid != pid
    assert scene.manager.log(id, 0).lines == []


def test_a_job_runs_in_another_process_when_that_which_waited_for_it_was_killed(scene: Scene, worker: Worker) -> None:
    for _ in range(5):
        pid = waiting(scene, worker)
        kill(pid)
        check_that_it_runs_elsewhere(scene, scene.launch("rest"), pid)


def test_a_job_runs_in_another_process_when_the_one_that_it_is_handed_to_is_killed(
    scene: Scene, worker: Worker
) -> None:
    for _ in range(5):
        pid = waiting(scene, worker)
        os.kill(pid, signal.SIGSTOP)
        id = scene.launch("rest")
        wait_until(lambda id=id: scene.state(id) == "started")
        kill(pid)
        check_that_it_runs_elsewhere(scene, id, pid)


def test_a_job_that_waits_in_a_process_which_does_not_run_can_be_stopped(scene: Scene, worker: Worker) -> None:
    pid = waiting(scene, worker)
    os.kill(pid, signal.SIGSTOP)
    id = scene.launch("rest")
    wait_until(lambda: scene.state(id) == "started")
    scene.manager.stop(id)
    scene.wait_for(id, "stopped")
    assert scene.runs(id) == []
    scene.wait_for(scene.launch("rest"))


def test_a_template_that_is_killed_while_nothing_runs_is_replaced(scene: Scene, worker: Worker) -> None:
    pid = waiting(scene, worker)
    kill(template_of(pid))
    wait_until(lambda: not alive(pid))
    check_that_it_runs_elsewhere(scene, scene.launch("rest"), pid)


def test_a_template_that_is_killed_while_a_job_is_handed_over_takes_that_job_with_it_at_most(
    scene: Scene, worker: Worker
) -> None:
    pid = waiting(scene, worker)
    template = template_of(pid)
    os.kill(template, signal.SIGSTOP)
    os.kill(pid, signal.SIGSTOP)
    id = scene.launch("rest")
    wait_until(lambda: scene.state(id) == "started")
    kill(template)
    wait_until(lambda: scene.state(id) in ENDED, 5)
    if scene.state(id) == "failed":  # otherwise it was not handed over yet, and had another template
        assert scene.cause(id) == "Its process was killed (out of memory?)."
    assert len(scene.runs(id)) == (scene.state(id) == "finished")
    scene.check([id])
    scene.wait_for(scene.launch("rest"))
