"""A job goes on after it was deleted: RQ's own way does not stop it, and ours may not reach its worker."""

import pytest
from scene import Scene, Worker, each_kind
from test_redis import steps

from helpers import alive, wait_until
from launchpad.queue.job import Job

pytestmark = pytest.mark.long


def traces(scene: Scene, id: str) -> list[bytes]:
    """All keys with the id of a job, and all sets in which it is."""
    sets = [key for key in scene.redis.scan_iter("*", _type="zset") if scene.redis.zscore(key, id) is not None]
    return sets + [key for key in scene.redis.scan_iter("*") if id.encode() in key and b":execution" not in key]


@each_kind
@pytest.mark.parametrize("then", ["it ends by itself", "it goes on"])
def test_a_job_that_reports_progress_after_it_was_deleted_leaves_nothing(
    scene: Scene, worker: Worker, then: str
) -> None:
    enough = scene.folder / "enough"
    id = scene.launch("work", until=str(enough))
    wait_until(lambda: steps(scene, id) > 5)
    Job.fetch(id, scene.redis).delete()
    if then == "it ends by itself":
        before = scene.redis.info("stats")["total_commands_processed"]
        wait_until(lambda: scene.redis.info("stats")["total_commands_processed"] > before + 50)  # it reports, and logs
        assert traces(scene, id) == []
        enough.touch()
    scene.wait_for(scene.launch("rest"))  # the worker is free again
    assert then == "it ends by itself" or not alive(scene.runs(id)[0].pid)
    assert traces(scene, id) == []
    assert scene.manager.page().total == 1
