"""Names and limits that several modules and the Lua scripts share: each stands here, and nowhere else."""

QUEUE = "default"
PREFIX = "rq:launchpad:"  # begins each key of ours; those of the index are listed in lua/index.lua
CHANGES = "rq:pubsub:launchpad"  # the channel on which each change of a job is said
PROGRESS = "progress"  # what is said there when a job has only told how far it is; otherwise ""
RUNNING = PREFIX + "running"  # ids of running jobs, by the time of their start in microseconds
# What a list needs of a job's hash; `data`, which holds the arguments whole, is not among it.
FIELDS = (
    "status",
    "description",
    "meta",
    "created_at",
    "started_at",
    "ended_at",
    "worker_name",
    "stopping",  # whether it was interrupted, and may clean up
    "usage",  # of its processes, when it has ended: JSON
)
MAX_ATTEMPTS = 20  # of a job, whose times are kept: the newest
