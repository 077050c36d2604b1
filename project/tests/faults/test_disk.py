"""The disk of the file store is full."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from scene import Scene, both_kinds
from test_server import Server

pytestmark = [both_kinds, pytest.mark.long]

MB = 1024**2


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A site whose file store is a file system of six megabytes; mounting needs root, which CI is."""
    files = tmp_path / "files"
    files.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(files)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"Nothing can be mounted: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    try:
        with closing(Scene(tmp_path, request.param)) as scene:
            yield scene
    finally:
        subprocess.run(["umount", "--lazy", str(files)], check=True)


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
