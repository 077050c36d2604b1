"""The terminal: `flask launch NAME --option value`, with a command for each function of the catalog."""

import csv
import json
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
from flask import Flask, url_for
from flask.cli import ScriptInfo
from redis.exceptions import ConnectionError, RedisError, TimeoutError
from tqdm import tqdm

from launchpad.functions.catalog import Function, InvalidArguments
from launchpad.functions.forms import Field, as_text
from launchpad.queue.errors import JobNotFound, QueueFull
from launchpad.queue.manager import JobManager
from launchpad.queue.schemas import Job, JsonResult, Log, Result, TableResult, TextResult
from launchpad.queue.states import STOPPABLE, WAITING
from launchpad.storage import BLOCK
from launchpad.web.formatting import queue_position
from launchpad.web.uploads import Upload

POLL_SECONDS = 0.3  # between two looks at a job
METAVARS = {"number": "NUMBER", "file": "FILE", "date": "YYYY-MM-DD", "datetime-local": "YYYY-MM-DDTHH:MM:SS"}


class Launch(click.Group):
    """A group that makes its commands from the catalog, when somebody asks for them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the functions, in the order of their definition."""
        return [name.replace("_", "-") for name in _app(ctx).extensions["launchpad"].functions]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Make the command of a function; its name may also be typed as it is in `jobs.py`."""
        function = _app(ctx).extensions["launchpad"].functions.get(cmd_name.replace("-", "_"))
        return _command(_app(ctx), function) if function else None


launch = Launch("launch", help="Launch a function of jobs.py.")


def _app(ctx: click.Context) -> Flask:
    return ctx.ensure_object(ScriptInfo).load_app()


def _command(app: Flask, function: Function) -> click.Command:
    required = function.parameters.get("required", [])
    # No parameter begins with an underscore; one that is called `follow` leaves us the short form.
    names = ["-f"] if "follow" in function.model.model_fields else ["-f", "--follow"]
    follow = click.Option([*names, "_follow"], is_flag=True, help="Follow the job to its end and print its result.")
    return click.Command(
        function.name.replace("_", "-"),
        callback=partial(_run, app, function),
        params=[*(_option(field, field.name in required) for field in function.fields), follow],
        help=function.description,
        short_help=function.description.partition("\n")[0] or function.title,
    )


def _option(field: Field, required: bool) -> click.Option:
    """Make the option of a parameter. It takes texts, as a form does; which ones are right, `parse_form` says."""
    name = field.name.replace("_", "-")
    choices = [as_text(choice) for choice in field.choices] + [""] * (field.nullable and field.kind == "select")
    notes = ["required"] if required else []
    unsaid = (("step", 1), ("step", "any"), ("multiple", True))
    notes += [f"{key} {value}" for key, value in field.attributes.items() if (key, value) not in unsaid]
    notes += [f"default {', '.join(field.default.splitlines())}"] if field.default else []
    return click.Option(
        [f"--{name}/--no-{name}" if field.kind == "checkbox" else f"--{name}", field.name],
        type=click.Choice(choices) if choices else click.File("rb") if field.kind == "file" else None,
        multiple=field.kind in ("choices", "lines") or "multiple" in field.attributes,
        default=None,  # what is not given takes the function's own default
        metavar=METAVARS.get(field.kind),
        help=f"{field.help}  [{'; '.join(notes)}]" if notes else field.help,
    )


def _run(app: Flask, function: Function, /, _follow: bool, **options: Any) -> None:
    """Launch a job, and follow it if that is wanted. Whatever goes wrong is told in one line."""
    given = {name: value for name, value in options.items() if value not in (None, ())}
    form = {name: [*value] if isinstance(value, tuple) else [value] for name, value in given.items()}
    manager: JobManager = app.extensions["launchpad"].manager
    try:
        with ExitStack() as stack:
            most = app.extensions["launchpad"].settings.max_upload_mb
            texts = {name: [_text(manager, most, stack, value) for value in values] for name, values in form.items()}
            job, _ = manager.launch(function.name, function.parse_form(texts))
        if _follow:
            _follow_to_its_end(app, manager, job)
        else:
            click.echo(job.id)
    except InvalidArguments as error:
        raise click.UsageError(str(error)) from None
    except (JobNotFound, QueueFull) as error:
        raise click.ClickException(str(error)) from None
    except RedisError as error:
        raise click.ClickException(f"Redis cannot be reached: {error}") from None
    finally:
        manager.redis.close()


def _text(manager: JobManager, most: int, stack: ExitStack, value: Any) -> Any:
    """Write a value as a form has it; a file (`most` in MB) is uploaded, and removed again unless a job takes it."""
    if not hasattr(value, "read"):
        return as_text(value)
    upload = Upload(manager.files, Path(value.name).name)
    stack.callback(upload.discard)
    rest = most * 1024**2
    try:
        while data := value.read(BLOCK):
            rest -= len(data)
            if rest < 0:
                raise click.ClickException(f"{value.name} is larger than {most} MB: set MAX_UPLOAD_MB.")
            upload.write(data)
        upload.seek(0)
    except manager.files.failures as error:
        raise click.ClickException(f"The file store (FILES_URL) cannot be reached, or is full: {error}") from None
    return upload.received()


def _follow_to_its_end(app: Flask, manager: JobManager, job: Job) -> None:
    """Show a job until it has ended, and print its result or raise its failure. Ctrl-C ends only this."""
    click.echo(f"Job {job.id}", err=True)
    try:
        with Bar(job) as bar:
            while job.state in STOPPABLE or not bar.complete:
                time.sleep(POLL_SECONDS)
                job = _look_again(manager, bar, job)
    except KeyboardInterrupt:
        address = _address(app, "stop_job", id=job.id)
        click.echo(f"It goes on. Stop it on its page or with: curl -X POST {address}", err=True)
        raise SystemExit(130) from None
    if job.state != "finished":
        raise click.ClickException(job.error.cause if job.error else f"It was {job.state}.")
    for result in (job.result, *job.result.more) if job.result else ():
        _print_result(app, job.id, result)


def _address(app: Flask, view: str, **values: str) -> str:
    """Tell the address of one of our views on the server of this machine, below the path that the app has there."""
    settings = app.extensions["launchpad"].settings
    base = f"http://127.0.0.1:{settings.server_port}{settings.script_name}"
    with app.test_request_context(base_url=base):
        return url_for(f"launchpad.{view}", **values, _external=True)


def _print_result(app: Flask, id: str, result: Result) -> None:
    """Print a value, a table as CSV, and of a file where it is."""
    match result:
        case TableResult(columns=columns, rows=rows, count=count) if len(rows) == count:
            csv.writer(sys.stdout, lineterminator="\n").writerows([columns, *rows])
        case JsonResult(file=None, value=value) | TextResult(file=None, value=value):
            click.echo(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2))
        case _ if result.file:
            click.echo(_address(app, "get_file", id=id, name=result.file.name))


def _look_again(manager: JobManager, bar: "Bar", job: Job) -> Job:
    try:
        job = manager.get(job.id)
        bar.print_log(manager.log(job.id, bar.printed))
        bar.show(job)
    except (ConnectionError, TimeoutError):  # the job outlives an outage of Redis, and so do we
        bar.show(job, "Redis cannot be reached; trying again")
    return job


class Bar(tqdm):  # type: ignore[type-arg]
    """A tqdm bar of a job: its numbers, its rate and its time are the job's."""

    def __init__(self, job: Job):
        self._job, self._text = job, ""
        self.printed, self.complete = 0, False  # how much of the log
        super().__init__(dynamic_ncols=True)

    def show(self, job: Job, text: str = "") -> None:
        """Show a job as it is now, perhaps with a text instead of its own."""
        self._job, self._text = job, text
        self.refresh()

    def print_log(self, log: Log) -> None:
        """Print the next lines of the job's log above the bar."""
        if log.lines:
            self.write("\n".join(line.text for line in log.lines), file=sys.stderr)
        self.printed, self.complete = log.next, log.complete

    @property
    def format_dict(self) -> dict[str, Any]:
        """What tqdm draws the bar from."""
        job, progress = self._job, self._job.progress
        shown: dict[str, Any] = {"elapsed": _elapsed(job)}
        if progress and job.state not in WAITING:
            shown |= {"n": progress.done, "total": progress.total, "rate": progress.rate}
            text = progress.message or job.function
        else:
            shown["bar_format"] = "{desc} [{elapsed}]"
            text = queue_position(job.position, job.starts_at).lower() if job.position else job.state
        text = f"{text}, stopping" if job.stopping else text
        return {**super().format_dict, **shown, "prefix": " ".join((self._text or text).split())}


def _elapsed(job: Job) -> float:
    """Tell for how many seconds a job has run, or has waited so far."""
    until = job.ended_at or datetime.now(UTC)
    return max((until - (job.started_at or job.created_at)).total_seconds(), 0)
