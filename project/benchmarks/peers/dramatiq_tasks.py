"""Dramatiq, with broker and results in Redis."""

import os

import dramatiq
import plain
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

broker = RedisBroker(url=os.environ["BROKER"])
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["RESULTS"])))
dramatiq.set_broker(broker)
tasks = {name: dramatiq.actor(getattr(plain, name), store_results=True) for name in ("noop", "crash")}


def send(name):
    tasks[name].send()
