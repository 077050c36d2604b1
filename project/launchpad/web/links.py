"""The addresses of what jobs have returned.

They are made when somebody asks, and not kept with the result: only then it is known below which path the app is.
"""

from flask import url_for

from launchpad.queue.schemas import Job
from launchpad.web.blueprint import bp


def add_file_urls(*jobs: Job) -> None:
    """Tell of each file that these jobs have returned where it can be downloaded."""
    for job in jobs:
        for result in (job.result, *job.result.more) if job.result else ():
            if result.file:
                result.file.url = url_for(f"{bp.name}.get_file", id=job.id, name=result.file.name)
