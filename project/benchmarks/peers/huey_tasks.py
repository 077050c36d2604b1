"""huey, with queue and results in Redis."""

import os

import plain
from huey import RedisHuey

huey = RedisHuey("peers", url=os.environ["BROKER"])
tasks = {name: huey.task()(getattr(plain, name)) for name in ("noop", "crash")}


def send(name):
    tasks[name]()
