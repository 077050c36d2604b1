"""The disk of the file store is full, or that of the temporary files."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from scene import Scene, each_kind
from test_server import Server

pytestmark = [each_kind, pytest.mark.long]

MB = 1024**2


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a small file system; that needs root, which CI is."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"Nothing can be mounted: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A site whose file store has six megabytes."""
    with mounted(tmp_path / "files", "size=6m"), closing(Scene(tmp_path, request.param)) as scene:
        yield scene


def folders(scene: Scene) -> list[str]:
    return sorted(path.name for path in Path(scene.settings.files_url).iterdir())


def test_a_full_file_store_is_told_and_leaves_nothing_half_written_and_recovers(scene: Scene) -> None:
    server = Server(scene)
    rows = b"name,born\n" + b"Ada,1815\n" * (4 * MB // 9)
    # Nobody works yet: one upload fits, a second one does not.
    first = server.upload("first", rows)
    assert first[0] == 202
    status, problem = server.upload("second", rows)
    assert (status, problem["status"]) == (503, 503)
    assert "is full" in problem["detail"]
    assert folders(scene) == [first[1]["id"]]
    assert scene.manager.page().total == 1
    # The result of the first does not fit either.
    scene.start_worker()
    job = scene.wait_for(first[1]["id"], "failed")
    assert job.error.cause == "There was no space left for its files."
    kept = [path for path in Path(scene.settings.files_url).rglob("*") if path.is_file()]
    assert [path.stat().st_size for path in kept] == [len(rows)], "what was uploaded, and no part of a result"
    # There is space again.
    scene.manager.delete(job.id)
    assert folders(scene) == []
    status, job = server.upload("third", rows[:MB])
    assert status == 202
    scene.wait_for(job["id"])


def fill(folder: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        for number in range(30):
            (folder / str(number)).touch()


def test_a_job_for_whose_temporary_files_there_is_no_folder_fails_and_the_next_one_runs(
    scene: Scene, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    with mounted(temporary, "nr_inodes=20"):
        scene.start_worker(TMPDIR=str(temporary))
        scene.wait_for(scene.launch("rest"))
        fill(temporary)
        scene.wait_for(scene.launch("rest", seconds=0.5))  # its process was there before, with its folder
        fill(temporary)
        job = scene.wait_for(scene.launch("return_when_interrupted"), "failed")
        assert job.error.cause == "There was no space left for its files."
        assert scene.runs(job.id) == []
        for number in range(30):
            (temporary / str(number)).unlink(missing_ok=True)
        scene.wait_for(scene.launch("rest"))
