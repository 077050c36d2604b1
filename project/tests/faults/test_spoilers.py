"""Whatever a job does to its process, the next job finds what the first one found."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import spoilers
from scene import FULL, Scene
from spoilers import SPOILERS

from helpers import wait_until
from launchpad.queue.states import ENDED

ROUNDS = 2 if FULL else 1  # with two kinds of function, each followed by one that looks: 600 jobs, or 300
ENDS_ITSELF = ("raise_an_exit", "end_at_once")
LOG = ["looking", "I look around", "I look around", "I look around", "careful"]


def lines(scene: Scene, id: str) -> list[str]:
    wait_until(lambda: scene.manager.log(id, 0).complete)
    return [line.text for line in scene.manager.log(id, 0).lines]


def look(scene: Scene, function: str) -> dict[str, Any]:
    job = scene.wait_for(scene.launch(function))
    assert lines(scene, job.id) == LOG[1:], function
    assert job.progress is not None
    assert (job.progress.done, job.progress.message) == (3, "looking")
    return dict(json.loads(job.result.value))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path, functions=spoilers)
    yield scene
    scene.close()


@pytest.mark.long
@pytest.mark.usefixtures("worker")
def test_nothing_of_one_job_is_there_for_the_next(scene: Scene) -> None:
    fresh = {function: look(scene, function) for function in ("look", "look_warm")}
    choice = random.Random(1)
    for _ in range(ROUNDS):
        for how in choice.sample(sorted(SPOILERS), len(SPOILERS)):
            for spoil, after in (("spoil", "look"), ("spoil_warm", "look"), ("spoil", "look_warm")):
                id = scene.launch(spoil, how=how)
                wait_until(lambda id=id: scene.state(id) in ENDED)
                assert (scene.state(id) == "failed") == (how in ENDS_ITSELF), (how, scene.job(id))
                assert lines(scene, id)[:1] == [f"spoiled by {how}"], how
                found = look(scene, after)
                differences = {key: (found[key], value) for key, value in fresh[after].items() if found[key] != value}
                assert not differences, (how, spoil, after, differences)
            again = scene.wait_for(scene.launch("spoil_warm", how="do_nothing"))
            assert lines(scene, again.id) == ["spoiled by do_nothing", "nothing is logged"], how
