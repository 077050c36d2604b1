"""However a job ends, or its worker, no process of it goes on, and its temporary files are gone."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from scene import Scene, Worker, both_kinds, kill, processes_of, send, template_of

from helpers import alive, wait_until
from launchpad.queue.states import ENDED
from launchpad.worker.ending import ABORT_SECONDS

pytestmark = [both_kinds, pytest.mark.long]
SOON = 5  # seconds after the death of a worker


def left(scene: Scene, id: str) -> list[str]:
    """What is there of the processes and the folder that a job has told of."""
    *pids, folder = scene.log(id)[0].split()
    assert len(pids) == 2
    return [pid for pid in pids if alive(int(pid))] + [folder] * Path(folder).exists()


ENDINGS: dict[str, tuple[str, Callable[[Scene, str], object]]] = {
    "it is stopped": ("scatter_and", lambda scene, id: scene.manager.stop(id)),
    "it is killed": ("scatter_and", lambda scene, id: send(signal.SIGKILL, scene.runs(id)[0].pid)),
    "its time is over": ("scatter_for_long", lambda scene, id: None),
}


@pytest.mark.parametrize("how", ENDINGS)
def test_a_job_that_is_ended_leaves_nothing(scene: Scene, worker: Worker, how: str) -> None:
    function, end = ENDINGS[how]
    id = scene.launch(function, **({"then": "", "seconds": 600} if function == "scatter_and" else {}))
    assert len(left(scene, id)) == 3
    end(scene, id)
    wait_until(lambda: scene.state(id) in ENDED)
    assert left(scene, id) == []


@pytest.mark.parametrize("then", ["a segfault", "os._exit(0)", "sys.exit()", "raise", "return"])
def test_a_job_that_ends_leaves_nothing(scene: Scene, worker: Worker, then: str) -> None:
    id = scene.launch("scatter_and", then=then)
    wait_until(lambda: scene.state(id) in ENDED)
    assert (scene.state(id) == "finished") == (then == "return")
    assert left(scene, id) == []


def test_a_job_that_is_deleted_leaves_nothing(scene: Scene, worker: Worker) -> None:
    id = scene.launch("scatter_and", then="", seconds=600)
    *pids, folder = scene.log(id)[0].split()
    scene.manager.delete(id)
    assert scene.manager.many([id]).jobs == []
    scene.wait_for(scene.launch("rest"))
    assert not any(alive(int(pid)) for pid in pids)
    assert not Path(folder).exists()


def test_no_next_job_runs_where_one_was_interrupted(scene: Scene, worker: Worker) -> None:
    id = scene.launch("return_when_interrupted")
    wait_until(lambda: scene.runs(id))
    scene.manager.stop(id)
    wait_until(lambda: scene.state(id) == "stopped")
    following = scene.launch("return_when_interrupted")
    [run] = wait_until(lambda: scene.runs(following))
    assert run.pid != scene.runs(id)[0].pid
    scene.manager.stop(following)
    scene.wait_for(following, "stopped")


def test_a_killed_worker_leaves_nothing(scene: Scene, worker: Worker) -> None:
    id = scene.launch("scatter_and", then="", seconds=600)
    assert len(left(scene, id)) == 3
    before = processes_of(worker)
    assert len(before) >= 7, "worker, scheduler, log collector, template, job, and what that has started"
    worker.kill()
    worker.wait()
    wait_until(lambda: not any(map(alive, before)), SOON)
    wait_until(lambda: left(scene, id) == [])


def test_a_killed_template_ends_its_job_and_another_one_takes_its_place(scene: Scene, worker: Worker) -> None:
    id = scene.launch("scatter_and", then="", seconds=600)
    assert len(left(scene, id)) == 3
    os.kill(template_of(scene.runs(id)[0].pid), signal.SIGKILL)
    assert scene.wait_for(id, "failed", 5).error.cause == "Its process was killed (out of memory?)."
    scene.wait_for(scene.launch("rest"))
    assert len(scene.runs(id)) == 1
    assert left(scene, id) == []


def scatter_in_two_workers(scene: Scene, folder: Path) -> tuple[Worker, list[str]]:
    """Let two workers with one folder for temporary files run a job each; return the worker of the first, and both."""
    workers = [scene.start_worker(TMPDIR=str(folder)), scene.start_worker(TMPDIR=str(folder))]
    ids = [scene.launch("scatter_and", then="", seconds=600) for _ in workers]
    assert [len(left(scene, id)) for id in ids] == [3, 3]
    [victim] = [worker for worker in workers if scene.runs(ids[0])[0].pid in processes_of(worker)]
    return victim, ids


def check_that_the_next_worker_tidies_up(scene: Scene, folder: Path, lost: str, running: str) -> None:
    scene.start_worker(TMPDIR=str(folder))
    scene.wait_for(scene.launch("rest"))
    assert left(scene, lost) == []
    assert len(left(scene, running)) == 3, "its worker is another one, which lives"
    scene.manager.stop(running)
    scene.wait_for(running, "stopped")


def test_the_files_of_a_job_that_a_machine_took_with_it_are_removed_by_the_next_worker(
    scene: Scene, tmp_path: Path
) -> None:
    (tmp_path / "launchpad-job-of-somebody").touch()
    victim, ids = scatter_in_two_workers(scene, tmp_path)
    kill(victim)
    assert left(scene, ids[0]) == [scene.log(ids[0])[0].split()[-1]], "nobody is there to remove it"
    check_that_the_next_worker_tidies_up(scene, tmp_path, *ids)


def test_what_a_job_has_started_is_ended_by_the_next_worker_when_all_who_could_were_killed_at_once(
    scene: Scene, tmp_path: Path
) -> None:
    victim, ids = scatter_in_two_workers(scene, tmp_path)
    os.killpg(victim.pid, signal.SIGKILL)  # the worker and its template, which would end them
    assert scene.wait_for(ids[0], "failed").error.cause == "Its worker was lost while it ran."
    assert len(left(scene, ids[0])) == 3
    check_that_the_next_worker_tidies_up(scene, tmp_path, *ids)


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_a_worker_ends_though_its_functions_are_still_being_loaded(scene: Scene, end: str) -> None:
    (scene.folder / "jobs.py").write_text(
        "import time\nopen('loads', 'ab', buffering=0).write(b'.')\ntime.sleep(600)\n"
    )
    worker = scene.start_worker()
    loads = scene.folder / "loads"
    wait_until(lambda: loads.exists() and loads.stat().st_size == 2)  # the template, and the scheduler
    before = processes_of(worker)
    getattr(worker, end)()
    worker.wait(2 * SOON)
    wait_until(lambda: not any(map(alive, before)), 2 * SOON)


GRACE, STOP = 2, 1.5


@pytest.fixture
def short_worker(scene: Scene) -> Worker:
    return scene.start_worker(GRACE_SECONDS=str(GRACE), STOP_SECONDS=str(STOP))


def test_a_job_that_ends_in_its_time_of_grace_finishes(scene: Scene, short_worker: Worker) -> None:
    id = scene.launch("rest", seconds=1.5)
    wait_until(lambda: scene.runs(id))
    short_worker.terminate()
    short_worker.wait(10)
    assert scene.state(id) == "finished"


@pytest.mark.parametrize("until", ["it has cleaned up", "it is killed"])
def test_after_its_time_of_grace_a_job_is_interrupted_and_then_killed(
    scene: Scene, short_worker: Worker, until: str
) -> None:
    id = scene.launch("clean_up", until=until)
    wait_until(lambda: scene.runs(id))
    told = time.time()
    processes = processes_of(short_worker)
    short_worker.terminate()
    short_worker.wait(10)
    assert scene.cause(id) == "Its worker was shut down while it ran."
    scene.check([id])
    interrupted, *_, last = [run.began - told for run in scene.runs(id)[1:] * 2]
    assert GRACE - 0.1 < interrupted < GRACE + 1
    if until == "it is killed":
        assert STOP - 0.5 < last - interrupted < STOP + ABORT_SECONDS
    wait_until(lambda: not any(map(alive, processes)), SOON)
