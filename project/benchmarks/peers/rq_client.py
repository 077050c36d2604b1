"""How a web app uses RQ: `send` a task, `look` for its progress and whether it has ended."""

import os

from redis import Redis
from rq import Queue
from rq.job import Job

queue = Queue(connection=Redis.from_url(os.environ["BROKER"]))


def send(name):
    return queue.enqueue(f"rq_tasks.{name}").id


def look(id):
    job = Job.fetch(id, connection=queue.connection)
    return job.meta.get("done"), job.is_finished
