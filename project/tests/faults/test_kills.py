"""Workers die all the time, and Docker starts them again."""

import os
import random
import time
from collections import Counter

import pytest
from scene import FULL, Scene, both_kinds, kill

from helpers import wait_until

NUMBERS = {"fresh": (200, 1000), "warm": (40, 200)} if FULL else {"fresh": (12, 80), "warm": (12, 80)}


@pytest.mark.long
@both_kinds
def test_workers_killed_at_any_moment_lose_no_job_and_run_none_twice(scene: Scene) -> None:
    kills, jobs = NUMBERS[scene.kind]
    chance = random.Random(os.environ.get("SEED"))

    def launch(function: str, number: int) -> list[str]:
        return [scene.launch(function, seconds=round(chance.uniform(0, 0.4), 2)) for _ in range(number)]

    once, again = launch("rest", jobs * 4 // 5), launch("rest_again", jobs // 5)
    workers = [scene.start_worker(wait=False) for _ in range(4)]
    for number in range(kills):
        # Spread over the whole of the work, at no particular moment of a job or of a worker's start.
        wait_until(lambda number=number: scene.ended() >= number * 0.95 * jobs / kills, 60)
        moment = time.monotonic() + chance.uniform(0, 0.5)
        wait_until(lambda moment=moment: time.monotonic() > moment)
        victim = chance.randrange(len(workers))
        kill(workers[victim])
        workers[victim] = scene.start_worker(wait=False)
    wait_until(lambda: scene.ended() == jobs, 30)
    scene.check(once + again)
    assert not set(scene.ran_twice()) & set(once)
    assert {scene.state(id) for id in again} == {"finished"}
    causes = Counter(scene.cause(id) for id in once if scene.state(id) == "failed")
    assert causes.keys() <= {"Its worker was lost while it ran.", "Its worker was lost before it started."}
    print(f"{kills} kills over {jobs} jobs: {dict(causes)}; {len(scene.ran_twice())} of those with retries ran again")
