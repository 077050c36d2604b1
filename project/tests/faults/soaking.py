"""Jobs that leave as much as a job can, for some seconds. A worker finds them with PYTHONPATH=tests/faults."""

import os

from launchpad.functions.catalog import job
from launchpad.functions.files import File
from launchpad.functions.progress import progress

KEPT = 20  # seconds that a job is kept when it has ended, instead of weeks


@job(result_ttl=KEPT, failure_ttl=KEPT, warm=os.environ.get("KIND") == "warm")
def leave(number: int) -> list[object]:
    for step in progress(range(3)):
        print(f"Step {step} of job {number}")
    if number % 10 == 0:
        raise ValueError("Every tenth one fails.")
    return ["x" * 1000, File(b"y" * 1000, "y.bin")] if number % 10 == 1 else ["x" * 1000]
