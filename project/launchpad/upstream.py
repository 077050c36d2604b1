"""What we change of others, and why: of RQ, redis-py, rq-dashboard, tqdm and werkzeug.

OVERRIDES names each method of ours that replaces one of theirs; MIRRORS what of ours does again what theirs does, or
reaches into it; PRIVATE their private names that we use. tests/test_upstream.py checks that the lists are whole, and
says after an upgrade which of the functions behind them have changed. Of Python itself `logging.basicConfig` is
replaced in a worker (worker/log_capture.py): a job can set up logging as a script does, though our handler is there.
"""

from typing import NamedTuple


class Mirror(NamedTuple):
    """A place of ours that depends on how theirs works inside."""

    ours: str  # a name, or a file below launchpad/
    upstream: tuple[str, ...]
    why: str


# Ours -> method -> why.
OVERRIDES: dict[str, dict[str, str]] = {
    "launchpad.worker.worker.Worker": {
        "__init__": "our options stand, whatever `rq worker` says, and the connection is a patient one",
        "work": "the scheduler always runs, without --with-scheduler; at the end the template ends, too",
        "_start_scheduler": "ours runs beside each worker: RQ starts one only where it gets the lock",
        "check_for_suspension": "once a second, not before each job",
        "heartbeat": "once a second, not five times a job; and a file tells the health check of the container",
        "get_heartbeat_ttl": "a sign of life holds as long as Redis may be away",
        "set_state": "between two jobs the worker stays busy",
        "dequeue_job_and_maintain_ttl": "a job is taken and started in one round trip",
        "execute_job": "the job runs in a process that a template forks, and its end is written in one step",
        "horse_pid": "it is the template that has forked the process",
        "handle_payload": "a stop does not hit the next job: commands come in a thread",
        "kill_horse": "a job that is stopped is interrupted first, so that it may clean up",
        "handle_warm_shutdown_request": "a running job has a time of grace, which Heroku's worker alone gives it",
        "_shutdown": "a signal handler must not wait for Redis: the running job would not be ended in time",
        "request_force_stop": "the end of the job is recorded: RQ would leave it as if it were running",
        "handle_job_failure": "a failure is recorded once, with its reason, whatever characters that has",
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
        "request_stop": "it ends also while it loads the functions, which may take long",
        "should_reacquire_locks": "after 5 s, not 10 minutes: the holder may have been killed",
        "acquire_locks": "from a holder who has not renewed it, too; RQ waits for its last minute",
        "heartbeat": "as __init__",
        "work": "it sweeps the file store, and an error does not end it for good",
        "enqueue_scheduled_jobs": "cron and abandoned jobs; and a canceled job is not queued after all",
    },
    "launchpad.queue.job.Job": {
        "__init__": "JSON: a pickle would run code in every reader",
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
        "launchpad.worker.worker.Worker",
        (
            "rq.worker.base.BaseWorker.work",
            "rq.worker.worker_classes.Worker.execute_job",
            "rq.worker.worker_classes.Worker._handle_stopped_job",
            "rq.worker.base.BaseWorker.request_stop",
            "rq.worker.base.BaseWorker.request_stop_execution",
            "rq.worker.base.BaseWorker.get_current_job_id",
            "rq.command.handle_command",
        ),
        "it steps in where the loop, commands and signals do their work",
    ),
    Mirror(
        "launchpad.worker.job_maker.JobMaker",
        ("rq.job.Job.__init__", "rq.job.Job.restore"),
        "it makes jobs without the slow constructor, and reads their times itself",
    ),
    Mirror(
        "launchpad.worker.job_process.run",
        ("rq.job.Job.perform", "rq.job.Job._execute", "rq.worker.base.BaseWorker.perform_job"),
        "the process of a job calls RQ's job, without RQ's worker around it",
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
        "launchpad.worker.causes.why",
        (
            "rq.worker.worker_classes.Worker.monitor_work_horse",
            "rq.timeouts.UnixSignalDeathPenalty.handle_death_penalty",
            "rq.worker.worker_classes.HerokuWorker.request_stop_sigrtmin",
        ),
        "it writes why a job has failed in RQ's words",
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
    "_fetch_status": "Job",
    "_install_signal_handlers": "Scheduler",
    "_job": "Worker: the job of an execution",
    "_result": "Worker: what the function has returned",
    "_serialize_meta": "Job",
    "_shutdown": "Worker",
    "_state": "Worker",
    "_status": "index.py: a job that is just being queued",
    "_stop_requested": "Worker and Scheduler",
    "_stopped_job_id": "Worker",
}
