"""What we change of others, and why: of RQ, redis-py, rq-dashboard, tqdm and werkzeug.

OVERRIDES names each method of ours that replaces one of theirs; MIRRORS what of ours does again what theirs does, or
reaches into it; PRIVATE their private names that we use. tests/test_upstream.py checks that the lists are whole, and
says after an upgrade which of the functions behind them have changed.
"""

from typing import NamedTuple


class Mirror(NamedTuple):
    """A place of ours that depends on how theirs works inside."""

    ours: str  # a name, or a file below launchpad/
    upstream: tuple[str, ...]
    why: str


# Ours -> method -> why.
OVERRIDES: dict[str, dict[str, str]] = {
    "launchpad.worker.worker.ForkingWorker": {
        "__init__": "our options stand, whatever `rq worker` says, and the connection is a patient one",
        "work": "the scheduler always runs, without --with-scheduler",
        "heartbeat": "a file tells the health check of the container",
        "get_heartbeat_ttl": "a sign of life holds as long as Redis may be away",
        "fork_work_horse": "the log collector is there first; a signal is not lost on a process that was just forked",
        "setup_work_horse_signals": "the process of a job hears of the shutdown once it is ready",
        "main_work_horse": "the process ends with its worker, or there would soon be two of this job",
        "prepare_job_execution": "a job that was given up, while the worker slept, does not start",
        "handle_warm_shutdown_request": "a shutdown between two jobs is not lost where StopRequested is swallowed",
        "monitor_work_horse": "os._exit(0) in a job is a failure: RQ takes it for an end that was recorded",
        "kill_horse": "a process that was just forked has no group yet, and RQ would kill the worker with its own",
        "maintain_heartbeats": "an overdue job is ended after 5 s, not 60; one that was deleted, at once",
        "handle_work_horse_killed": "the children of a killed job end with it",
        "handle_execution_ended": "a job that was deleted meanwhile does not come back",
        "handle_job_success": "a run that was given up writes nothing",
        "handle_job_failure": "a failure is recorded once, with its reason, whatever characters that has",
        "_start_scheduler": "ours runs beside each worker: RQ starts one only where it gets the lock",
    },
    "launchpad.worker.warm.WarmProcess": {
        "__init__": "one process runs many jobs: what each of them needs is made once",
        "handle_payload": "a stop does not hit the next job: commands come in a thread",
        "check_for_suspension": "once a second, not before each job",
        "heartbeat": "once a second, not five times a job",
        "set_state": "between two jobs the worker stays busy",
        "dequeue_job_and_maintain_ttl": "a job is taken and started in one round trip",
        "execute_job": "the process is told of the job, and not forked",
        "fork_work_horse": "as execute_job; forked only if there is none, or the job wants its own",
        "wait_for_horse": "the job may end while its process goes on",
        "monitor_work_horse": "the process stays if it has told of the end",
        "kill_horse": "between two jobs nothing is killed",
        "perform_job": "it loops: the next job comes through a pipe",
        "prepare_job_execution": "the start was written when the job was taken",
        "handle_exception": "an error that is more than the function's own ends the process",
        "handle_execution_ended": "the end is written in one step, which sees whether the job was deleted",
        "handle_job_success": "as handle_execution_ended",
    },
    "launchpad.worker.warm.NoLimit": {
        "setup_death_penalty": "select waits with a limit of its own; an alarm for each job would cost two signals",
        "cancel_death_penalty": "as setup_death_penalty",
    },
    "launchpad.worker.time_limit.TimeLimit": {
        "setup_death_penalty": "there is one alarm: a shutdown may have set it before the job began",
        "handle_death_penalty": "a job cannot swallow its time limit with `except Exception` (rq/rq#2296)",
        "__exit__": "a job that has swallowed it nevertheless is told again",
    },
    "launchpad.worker.connection.PatientRetry": {
        "call_with_retry": "the worker waits while Redis is full: it would end, and the end of its job be lost",
    },
    "launchpad.worker.connection.WorkerRedis": {
        "from_url": "it tries again for two minutes; redis-py tries again only where Redis() is called",
    },
    "launchpad.worker.scheduler.Scheduler": {
        "__init__": "it remembers its worker, and ends with it",
        "start": "a signal is not lost on a process that was just forked",
        "_install_signal_handlers": "as start",
        "should_reacquire_locks": "after 5 s, not 10 minutes: the holder may have been killed",
        "acquire_locks": "from a holder who has not renewed it, too; RQ waits for its last minute",
        "heartbeat": "as __init__",
        "request_stop": "it ends also while it loads the functions, which may take long",
        "work": "it sweeps the file store, and an error does not end it for good",
        "enqueue_scheduled_jobs": "cron and abandoned jobs; and a canceled job is not queued after all",
    },
    "launchpad.queue.job.Job": {
        "__init__": "JSON: a pickle would run code in every reader",
        "to_dict": "one more field",
        "func": "nothing but our runner is ever imported, whoever writes to Redis",
        "restore": "callbacks and webhooks are dropped; a hash that cannot be read does not end the worker",
        "_fetch_status": "a state that is none does not raise",
        "latest_result": "a result that cannot be read does not raise",
        "set_status": "the index follows; a stopped job has an end",
        "prepare_for_execution": "the index follows; attempts are counted",
        "save_meta": "a deleted job does not come back",
        "retry": "the worker's copy of meta is older than the process's",
        "cleanup": "the index follows",
        "delete": "the index follows",
    },
    "launchpad.monitor.TolerantJSON": {
        "loads": "what is not JSON is shown as a text that says so",
    },
    "launchpad.monitor.Job": {
        "__init__": "rq-dashboard would unpickle (Parallels/rq-dashboard#379)",
        "dependency_ids": "RQ no longer answers bytes, which rq-dashboard decodes",
        "get_call_string": "the call may not be JSON",
        "delete": "a running job is stopped first",
    },
    "launchpad.monitor.Queue": {
        "empty": "RQ would leave traces of the jobs",
        "compact": "RQ would rename the queue while workers take jobs from it",
    },
    "launchpad.monitor.SafeTemplates": {
        "preprocess": "rq-dashboard writes what jobs say into the page as it is (Parallels/rq-dashboard#526)",
    },
    "launchpad.functions.progress.progress": {
        "__init__": "the bar is the page's, not a terminal's, and its clock cannot be set back",
        "display": "it is saved, ten times a second at most",
        "reset": "a new stage begins at 0 percent",
        "close": "the last state is saved",
    },
    "launchpad.cli.Bar": {
        "__init__": "its numbers are those of a job elsewhere",
        "format_dict": "as __init__",
    },
    "launchpad.cli.Launch": {
        "list_commands": "the functions are the commands",
        "get_command": "as list_commands",
    },
}

MIRRORS = (
    Mirror(
        "queue/lua/start_job.lua",
        (
            "rq.executions.prepare_execution",
            "rq.worker.base.BaseWorker.prepare_job_execution",
            "rq.job.Job.prepare_for_execution",
            "rq.queue.Queue.dequeue_any",
        ),
        "it writes in one step what these write in four",
    ),
    Mirror(
        "queue/lua/end_job.lua",
        (
            "rq.worker.base.BaseWorker.handle_job_success",
            "rq.job.Job._handle_success",
            "rq.results.Result.save",
            "rq.job.Job.cleanup",
            "rq.executions.cleanup_execution",
        ),
        "it writes in one step what these write",
    ),
    Mirror(
        "queue/lua/enqueue.lua",
        ("rq.queue.Queue._enqueue_job", "rq.queue.Queue.schedule_job", "rq.job.Job.save"),
        "it writes in one step what these write, if the queue is not full",
    ),
    Mirror(
        "launchpad.worker.warm.WarmProcess",
        ("rq.job.Job.__init__", "rq.worker.base.BaseWorker.work", "rq.worker.worker_classes.Worker.execute_job"),
        "it makes jobs without the constructor, which is slow, and steps in between the parts of the loop",
    ),
    Mirror(
        "launchpad.worker.command.connection_of_command",
        ("rq.cli.helpers.CliConfig.connection", "rq.cli.workers.worker", "rq.suspension.is_suspended"),
        "`rq worker` asks Redis before it makes the worker, and would end where Redis is not there yet",
    ),
    Mirror(
        "launchpad.worker.abandoned.AbandonedJobs",
        (
            "rq.registry.StartedJobRegistry.cleanup",
            "rq.intermediate_queue.IntermediateQueue.cleanup",
            "rq.job_lifecycle.record_job_failure",
            "rq.worker.base.BaseWorker.subscribe",
        ),
        "it finds in seconds what these find in minutes, and ends it in the same words",
    ),
    Mirror(
        "launchpad.worker.scheduler.Scheduler",
        ("rq.scripts.release_lock", "rq.scripts.acquire_or_refresh_lock", "rq.scheduler.run"),
        "it takes the lock of a scheduler that was killed",
    ),
    Mirror(
        "launchpad.worker.worker.ForkingWorker",
        (
            "rq.worker.worker_classes.HerokuWorker.request_stop_sigrtmin",
            "rq.worker.worker_classes.HerokuWorker.request_force_stop_sigrtmin",
            "rq.worker.base.BaseWorker.request_stop",
            "rq.worker.base.BaseWorker.request_stop_execution",
            "rq.command.handle_command",
        ),
        "these end a job within 6 s when the worker is told to end, and stop one on command",
    ),
    Mirror(
        "launchpad.queue.serialize._CAUSES",
        (
            "rq.worker.worker_classes.Worker.monitor_work_horse",
            "rq.worker.worker_classes.Worker._handle_stopped_job",
            "rq.registry.StartedJobRegistry.cleanup",
            "rq.intermediate_queue.IntermediateQueue.cleanup",
        ),
        "it reads RQ's words for why a job has failed",
    ),
    Mirror(
        "launchpad.queue.serialize._outcome",
        ("rq.results.Result.serialize", "rq.results.Result.restore"),
        "a list reads a hundred results: RQ's way of reading them would take four times as long",
    ),
    Mirror(
        "launchpad.monitor.replace_parts",
        (
            "rq_dashboard.web.setup_rq_connection",
            "rq_dashboard.web.push_rq_connection",
            "rq_dashboard.web.job_info",
            "rq_dashboard.web.delete_job_view",
            "rq_dashboard.web.requeue_job_view",
            "rq_dashboard.web.requeue_all",
            "rq_dashboard.web.empty_queue",
            "rq_dashboard.web.compact_queue",
            "rq_dashboard.web.queues_overview",
        ),
        "its classes, connection and requeueing are replaced: it unpickles, and changes by GET",
    ),
    Mirror(
        "launchpad.web.uploads.Upload",
        ("werkzeug.formparser.MultiPartParser.start_file_streaming", "werkzeug.formparser.MultiPartParser.parse"),
        "it is written to as a file, and counts on seek(0) at its end",
    ),
    Mirror(
        "launchpad.worker.application.application",
        ("flask.cli.ScriptInfo.load_app", "flask.cli.locate_app"),
        "the cause of an import that failed is read from the error",
    ),
)

# RQ's private names -> where they are used and for what.
PRIVATE: dict[str, str] = {
    "_connection": "command.py: the connection of `rq worker`",
    "_enqueue_job": "Scheduler and transitions.py: with a pipeline",
    "_exception": "TimeLimit: whose limit it is",
    "_fetch_status": "Job",
    "_horse_pid": "WarmProcess: whether a job runs",
    "_install_signal_handlers": "Scheduler",
    "_job": "WarmProcess: the job of an execution",
    "_result": "WarmProcess: what the function has returned",
    "_serialize_meta": "Job",
    "_state": "WarmProcess",
    "_status": "index.py: a job that is just being queued",
    "_stop_requested": "worker, WarmProcess and Scheduler",
    "_stopped_job_id": "worker and WarmProcess",
    "_timeout": "TimeLimit: its seconds",
}
