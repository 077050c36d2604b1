"""The four services are started in any order."""

import time
from collections.abc import Callable
from itertools import permutations

import pytest
from scene import FULL, Scene, each_kind

from helpers import WORKER, answers, free_port, wait_until

pytestmark = [each_kind, pytest.mark.long]

ORDERS = list(permutations(["redis", "server", "worker", "dashboard"]))
SOME = [
    ("dashboard", "worker", "server", "redis"),
    ("server", "dashboard", "redis", "worker"),
    ("worker", "redis", "dashboard", "server"),
]


@pytest.mark.parametrize("order", ORDERS if FULL else SOME, ids=" ".join)
def test_the_four_are_ready_in_whatever_order_they_start(scene: Scene, order: tuple[str, ...]) -> None:
    scene.valkey.stop()
    urls = {name: f"http://127.0.0.1:{free_port()}" for name in ("server", "dashboard")}

    def serve(name: str) -> None:
        scene.start(["gunicorn", "--bind", urls[name].removeprefix("http://"), f"{name}:create_app()"])

    starts: dict[str, Callable[[], object]] = {
        "redis": scene.valkey.start,
        "server": lambda: serve("server"),
        "worker": lambda: scene.start(WORKER),
        "dashboard": lambda: serve("dashboard"),
    }
    for name in order:
        moment = time.monotonic()
        starts[name]()
        wait_until(lambda moment=moment: time.monotonic() > moment + 0.7)  # in which the others have long begun
    for url in (urls["server"] + "/readyz", urls["dashboard"] + "/healthz"):
        wait_until(lambda url=url: answers(url), 20)
    scene.wait_for(scene.launch("rest"))
