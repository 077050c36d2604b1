"""Why a job has failed, in RQ's words where it has some: `launchpad.queue.serialize` reads them."""

import os

from jinja2.filters import do_filesizeformat as filesizeformat

from launchpad.queue.job import Job
from launchpad.worker.ending import Ending
from launchpad.worker.messages import Ended


def why(job: Job, ended: Ended, ending: Ending) -> str:
    """Say why a job has failed, in RQ's words where it has some: see `error_of`."""
    error: str = (ended.outcome or {}).get("error", "")
    reasons = {
        "stop": "Job stopped by user, work-horse terminated.",
        "limit": f"JobTimeout: Task exceeded maximum timeout value ({job.timeout} seconds)",
        "shutdown": "ShutDownImminentException: the worker was told to end",
    }
    if ending.reason:  # the last line of the traceback tells what the job was interrupted by
        interrupted, reason = "launchpad.worker.job_process.JobInterrupted", reasons[ending.reason]
        return error.replace(interrupted, reason) if interrupted in error else reason
    return error or _how_killed(ended)


def _how_killed(ended: Ended) -> str:
    """Say how a process has ended that has left no outcome."""
    memory = ended.memory
    if memory.reason == "limit":
        return f"MemoryLimitExceeded: {filesizeformat(memory.had)} of {filesizeformat(memory.limit)}"
    signalled = f" (signal {os.WTERMSIG(ended.status)})" if os.WIFSIGNALED(ended.status) else ""
    why = {"": "", "system": "out of memory; ", "unknown": "out of memory?; "}[memory.reason]
    used = f"used {filesizeformat(ended.usage.max_memory_bytes)}" if ended.usage.max_memory_bytes else ""
    return f"Work-horse terminated unexpectedly; waitpid returned {ended.status}{signalled}; {why}{used}"
