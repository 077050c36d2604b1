"""Why a job has failed, in RQ's words where it has some: `launchpad.queue.serialize` reads them."""

import os
import re

from jinja2.filters import do_filesizeformat as filesizeformat

from launchpad.queue.job import Job
from launchpad.worker.ending import Ending
from launchpad.worker.messages import Ended

INTERRUPTED = "launchpad.worker.job_process.JobInterrupted"
# The last frame of a function that was interrupted: it is ours, and looks like an error of the function's.
OUR_FRAME = re.compile(r'^  File "[^"\n]*", line \d+, in \w+\n    raise JobInterrupted\n(?:    [~^]+\n)?', re.M)


def why(job: Job, ended: Ended, ending: Ending) -> str:
    """Say why a job has failed, in RQ's words where it has some: see `error_of`."""
    error: str = (ended.outcome or {}).get("error", "")
    reasons = {
        "stop": "Job stopped by user, work-horse terminated.",
        "limit": f"JobTimeout: Task exceeded maximum timeout value ({job.timeout} seconds)",
        "shutdown": "ShutDownImminentException: the worker was told to end",
    }
    if ending.reason:
        return _where_interrupted(error, reasons[ending.reason])
    return error or _how_killed(ended)


def _where_interrupted(error: str, reason: str) -> str:
    """Tell in a traceback by what the function was interrupted; first of all, if it then failed in another way."""
    told = OUR_FRAME.sub("", error).replace(INTERRUPTED, reason).rstrip()
    return told if told.endswith(reason) else f"{reason}\n\n{told}".rstrip()


def _how_killed(ended: Ended) -> str:
    """Say how a process has ended that has left no outcome."""
    memory = ended.memory
    if memory.reason == "limit":
        return f"MemoryLimitExceeded: {filesizeformat(memory.had)} of {filesizeformat(memory.limit)}"
    signalled = f" (signal {os.WTERMSIG(ended.status)})" if os.WIFSIGNALED(ended.status) else ""
    why = {"": "", "system": "out of memory; ", "unknown": "out of memory?; "}[memory.reason]
    used = f"used {filesizeformat(ended.usage.max_memory_bytes)}" if ended.usage.max_memory_bytes else ""
    return f"Work-horse terminated unexpectedly; waitpid returned {ended.status}{signalled}; {why}{used}"
