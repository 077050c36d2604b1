"""The states of a job, which are RQ's, and the groups of them that something depends on."""

STATES = ("queued", "scheduled", "deferred", "started", "finished", "failed", "stopped", "canceled")

WAITING = ("queued", "scheduled", "deferred")
ENDED = ("finished", "failed", "stopped", "canceled")
STOPPABLE = (*WAITING, "started")  # to stop one that waits is to cancel it
RETRYABLE = ("failed", "stopped", "canceled")
ENDED_EARLY = ("failed", "stopped")  # it has an error, and its progress tells how far it came
ACTIVE = ("queued", "scheduled", "started")  # it may change by itself at any moment
