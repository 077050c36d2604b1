"""Celery, with broker and results in Redis."""

import os
import time

import plain
from celery import Celery

celery = Celery("peers", broker=os.environ["BROKER"], backend=os.environ["RESULTS"])
tasks = {"noop": celery.task(plain.noop), "crash": celery.task(plain.crash)}


@celery.task(bind=True)
def step(self):
    self.update_state(state="PROGRESS", meta={"done": 1})
    time.sleep(0.05)
    return {"done": 1}


def send(name):
    return (tasks | {"step": step})[name].delay().id


def look(id):
    result = celery.AsyncResult(id)
    return (result.info or {}).get("done"), result.successful()
