"""The tasks of RQ: plain functions. The process of each job imports this file, so it has nothing else."""

import time

from plain import crash, noop  # noqa: F401
from rq import get_current_job


def step():
    job = get_current_job()
    job.meta["done"] = 1
    job.save_meta()
    time.sleep(0.05)
