"""What each test of a fault has to itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from scene import Scene, Worker


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    scene = Scene(tmp_path, getattr(request, "param", "fresh"))
    yield scene
    scene.close()


@pytest.fixture
def worker(scene: Scene) -> Worker:
    return scene.start_worker()
