"""What `rq worker` says."""

from pathlib import Path

from redis import Redis

from helpers import WORKER, is_listening, process, wait_until
from launchpad.queue.manager import JobManager


def test_a_worker_does_not_say_again_and_again_that_it_cleans_up(
    manager: JobManager, redis: Redis, redis_url: str, files_url: str, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    with output.open("wb") as file, process(WORKER, stdout=file, stderr=file, REDIS_URL=redis_url, FILES_URL=files_url):
        wait_until(lambda: is_listening(redis))
        id = manager.launch("count_words", {"text": "a"})[0].id
        wait_until(lambda: manager.get(id).state == "finished")  # it has cleaned up before it took its first job
    assert "Listening on default" in output.read_text()
    assert f"finished {id}" in output.read_text()
    assert "cleaning" not in output.read_text()
