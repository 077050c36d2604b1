"""Flask-RQ: the tasks are a part of the Flask app, as in its documentation."""

import os

import rq_tasks
from flask import Flask
from flask_rq import RQ

app = Flask(__name__)
app.config["RQ_CONNECTION"] = os.environ["BROKER"]
rq = RQ(app)
tasks = {name: rq.job(getattr(rq_tasks, name)) for name in ("noop", "crash", "step")}


def send(name):
    with app.app_context():
        return tasks[name].enqueue().id


def look(id):
    job = rq.queue.fetch_job(id)
    return job.meta.get("done"), job.is_finished
