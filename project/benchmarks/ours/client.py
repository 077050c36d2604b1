"""How the server launches: through the manager."""

import os

import jobs
from launchpad.functions.catalog import collect
from launchpad.queue.manager import JobManager
from launchpad.settings import Settings

manager = JobManager(Settings(redis_url=os.environ["REDIS_URL"], max_queued_jobs=10**6), collect(jobs))


def send(name: str) -> None:
    """Launch a function."""
    manager.launch(name, {})
