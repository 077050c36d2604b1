"""The pages: launch and list, one function's form, one job. Every action is a plain form and works without JavaScript.

The filters below put a job into words for the templates; the script puts its changes into the same words.
"""

import json
import re
from contextlib import suppress
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any, NamedTuple

from flask import Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest, NotFound, UnprocessableEntity

from launchpad.functions.catalog import Function, InvalidArguments
from launchpad.functions.forms import as_text
from launchpad.queue import estimates
from launchpad.queue.index import STATES
from launchpad.queue.logs import LEVELS, MAX_LINES
from launchpad.queue.manager import JobNotFound, QueueFull
from launchpad.web.api import MAX_PER_PAGE, time_of
from launchpad.web.blueprint import bp
from launchpad.web.state import manager, state
from launchpad.web.uploads import read_form

KEY = "idempotency-key"  # the hyphen keeps it apart from every parameter
LONG = 300  # characters of a result that a row of the list holds
SHORT = 80  # characters of a value that need no box of their own
ACT_SECONDS = 5.0  # that an action on many jobs may take before it says how far it is
# What can be done with many jobs at once, and what there is to know before.
ACTIONS = {
    "stop": "Jobs that have ended already stay as they are.",
    "retry": "Of these, the ones that failed, were stopped or canceled are queued again.",
    "delete": "Jobs that run are stopped first. Deleted jobs cannot be brought back.",
}

bp.add_app_template_filter(as_text)


class JobFilter(NamedTuple):
    """Which jobs a list shows, in the order in which the manager takes it."""

    state: str | None
    function: str | None
    q: str


@bp.get("/")
def index() -> ResponseReturnValue:
    """Show the forms of all functions and the list of jobs. Query: `state`, `function`, `q`, `page`."""
    job_filter = _job_filter(request.args)
    page = min(max(request.args.get("page", 1, type=int), 1), 10**9)
    listing = manager().page(*job_filter, page=page)
    if page > listing["pages"]:
        return redirect(url_for(".index", **_query(job_filter), page=listing["pages"]))
    return render_template(
        "launchpad/index.html",
        functions=manager().functions.values(),
        listing=listing,
        job_filter=_query(job_filter),
        tabs=(None, *STATES),
        actions=ACTIONS,
    )


@bp.route("/launch/<name>", methods=["GET", "POST"])
def launch(name: str) -> ResponseReturnValue:
    """Show the form of one function, filled in from the query or from the job `from`; launch it."""
    function = _function(name)
    given = read_form() if request.method == "POST" else request.args.to_dict(flat=False)
    key = given.pop(KEY, [token_hex()])[-1]
    values = {name: "\n".join(item for item in items if isinstance(item, str)) for name, items in given.items()}
    if request.method == "GET":
        if id := request.args.get("from"):  # a keyword, and so never a parameter
            values = _texts(manager().get(id)["arguments"]) | values
        return render_template("launchpad/launch.html", function=function, values=values)
    at = given.pop("scheduled_at", [""])[-1]
    try:
        id = _launch(function, function.parse_form(given), str(key), str(at))
    except InvalidArguments as error:
        return render_template("launchpad/launch.html", function=function, values=values, errors=error.errors), 422
    except QueueFull as error:
        return render_template("launchpad/launch.html", function=function, values=values, problem=error), 429
    return redirect(url_for(".job", id=id), 303)


@bp.post("/jobs/act")
def act() -> ResponseReturnValue:
    """Stop, retry or delete the jobs that are named, or all that match; ask first, with their number.

    Form: `action`; `id`, repeated, or `all` with `state`, `function` and `q`; `page` to go back to; `confirmed`. What
    takes long is done in steps, between which `before` and `done` tell how far it is.
    """
    form, job_filter = request.form, _job_filter(request.form)
    action, ids, everything = form.get("action", ""), form.getlist("id"), bool(form.get("all"))
    before = form.get("before", "+inf")
    if action not in ACTIONS or len(ids) > MAX_PER_PAGE or not re.fullmatch(r"\+inf|\d{1,20}", before, re.ASCII):
        raise BadRequest(f"An action is one of {', '.join(ACTIONS)}, on up to {MAX_PER_PAGE} jobs, or on all.")
    shown = {"action": action, "note": ACTIONS[action], "ids": ids, "job_filter": _query(job_filter)}
    if not form.get("confirmed"):
        count = manager().page(*job_filter, per_page=1)["total"] if everything else len(ids)
        if count:
            return render_template("launchpad/act.html", **shown, count=count, before=before, goes_on=False)
    elif everything:
        number, before = manager().act(action, *job_filter, before, ACT_SECONDS)
        if before:
            done = form.get("done", 0, type=int) + number
            return render_template("launchpad/act.html", **shown, count=done, before=before, goes_on=True)
    else:
        manager().act_on(action, ids)
    return redirect(url_for(".index", **_query(job_filter), page=form.get("page") or None), 303)


@bp.get("/jobs/<id>")
def job(id: str) -> str:
    """Show one job."""
    found = manager().get(id)
    return render_template(
        "launchpad/job.html",
        job=found,
        earlier=manager().attempts(id)[:-1],
        listing=manager().many([id]),
        known=found["function"] in manager().functions,
        levels=("debug", *LEVELS[2:]),
    )


@bp.get("/jobs/<id>/log.txt")
def log(id: str) -> Response:
    """Download what is kept of the log of a job, as text."""
    text: list[str] = []
    page = manager().log(id, 0)
    while page["lines"] and len(text) <= MAX_LINES:  # a job may print faster than this reads
        text += [f"{line['time'][:23]}Z {line['level']:8} {line['text']}\n" for line in page["lines"]]
        page = manager().log(id, page["next"])
    headers = {"Content-Disposition": f"attachment; filename={id}.log"}
    return Response("".join(text), mimetype="text/plain", headers=headers)


@bp.post("/jobs/<id>/delete")
def delete(id: str) -> ResponseReturnValue:
    """Delete a job, and go back to the list."""
    with suppress(JobNotFound):  # a second click
        manager().delete(id)
    return redirect(url_for(".index", **_query(_job_filter(request.args)), page=request.args.get("page")), 303)


@bp.post("/jobs/<id>/stop")
def stop(id: str) -> ResponseReturnValue:
    """Stop a job that runs, cancel one that waits."""
    manager().stop(id)
    return redirect(url_for(".job", id=id), 303)


@bp.post("/jobs/<id>/retry")
def retry(id: str) -> ResponseReturnValue:
    """Queue a job again."""
    manager().retry(id)
    return redirect(url_for(".job", id=id), 303)


@bp.post("/jobs/<id>/again")
def again(id: str) -> ResponseReturnValue:
    """Launch another job with the arguments of this one."""
    try:
        new = manager().launch_again(id, request.form.get(KEY, token_hex()))["id"]
    except InvalidArguments as error:
        raise UnprocessableEntity(f"The function takes other arguments now: {error}") from None
    return redirect(url_for(".job", id=new), 303)


@bp.app_context_processor
def page_context() -> dict[str, Any]:
    """Give every template, that of the errors included, what the frame of the page shows."""
    host = re.sub(r":\d+$", "", request.host)
    port = state().settings.dashboard_port
    return {
        "monitor_url": f"{request.scheme}://{host}:{port}/",
        "new_key": token_hex,
        "KEY": KEY,
        "SHORT": SHORT,
        "UPLOAD": state().settings.max_upload_mb * 1024**2,
    }


def _job_filter(given: MultiDict[str, str]) -> JobFilter:
    state = given.get("state") or None
    if state not in (None, *STATES):
        raise NotFound("There is no such state.")
    return JobFilter(state, given.get("function") or None, given.get("q", "").strip())


def _query(job_filter: JobFilter) -> dict[str, Any]:
    """Write a job_filter as a link has it."""
    return {name: value for name, value in job_filter._asdict().items() if value}


def _function(name: str) -> Function:
    if name not in manager().functions:
        raise NotFound(f"There is no function {name[:100]}.")
    return manager().functions[name]


def _launch(function: Function, arguments: dict[str, Any], key: str, at: str = "") -> str:
    """Launch a job once for this key, and answer its id."""
    # The browser's "back" brings an old key back: with other arguments it is another job all the same.
    # A file that is sent twice is stored in two places: its name and size are what counts.
    same = function.with_files(arguments, lambda _, file: [file["name"], file["size"]])
    key = " ".join((key, function.name, json.dumps(same, sort_keys=True), at))
    return str(manager().launch(function.name, arguments, key, time_of(at))[0]["id"])


def _texts(arguments: dict[str, Any]) -> dict[str, str]:
    """Write arguments as a form shows them."""
    return {
        name: "\n".join(map(_text, value)) if isinstance(value, list) else _text(value)
        for name, value in arguments.items()
    }


def _text(value: Any) -> str:
    return as_text(_names(value))


@bp.app_template_filter()
def words(arguments: dict[str, Any]) -> str:
    """Put arguments into one line, as a call is written; files by their names."""
    return ", ".join(f"{name}={_json(_names(value))}" for name, value in arguments.items())


def _names(value: Any) -> Any:
    if isinstance(value, list):
        return [_names(item) for item in value]
    return value["name"] if isinstance(value, dict) and "name" in value else value


@bp.app_template_filter()
def outcome(job: dict[str, Any]) -> str:
    """Say in one line what came of a job, or what it waits for."""
    match job:
        case {"state": "queued", "position": position}:
            return estimates.place(position, job.get("starts_at")) if position else "About to start"
        case {"state": "finished", "result": dict(result)}:
            number = len(result.get("more", []))
            return _brief(result) + (f" and {number} more" if number else "")
        case {"error": {"cause": cause}}:
            return str(cause)
        case {"state": "scheduled", "scheduled_at": str(at)}:
            return f"Starts {clock(at)}"
    return {"scheduled": "Waits for its time", "deferred": "Waits for another job"}.get(job["state"], "")


def _brief(result: dict[str, Any]) -> str:
    match result:
        case {"type": "table", "count": count}:
            return f"A table of {count:,} row{'' if count == 1 else 's'}"
        case {"preview": str(text)} | {"value": str(text)}:
            return text[:LONG]
        case {"file": {"name": name}}:
            return str(name)
        case {"value": value}:
            return "No result" if value is None else _json(value)[:LONG]
    return ""


@bp.app_template_filter()
def detail(progress: dict[str, Any] | None) -> str:
    """Say how far a running job is."""
    if progress is None:
        return "Working; no progress reported"
    (size, unit), eta = _scale(progress), progress["eta"]
    rate = (progress["rate"] or 0) / size
    parts = (
        progress["message"],
        _done(progress),
        f"{rate:,.{0 if rate >= 10 else 1}f}{unit}/s" if rate >= 0.05 else "",
        f"{duration(int(eta))} left" if eta else "",
    )
    return " · ".join(filter(None, parts))


@bp.app_template_filter()
def note(job: dict[str, Any]) -> str:
    """Add to the state where the job ended, and which attempt it is."""
    halted = job["progress"] and job["state"] in ("failed", "stopped")
    parts = (
        f"at {_done(job['progress'])}" if halted else "",
        f"attempt {job['attempt']}" if job["attempt"] > 1 else "",
    )
    return " · ".join(filter(None, parts))


@bp.app_template_filter()
def workers(workers: dict[str, int]) -> str:
    """Say how many workers there are, and how many are busy."""
    total, busy = workers["total"], workers["busy"]
    return f"{total} worker{'' if total == 1 else 's'}, {busy} busy" if total else "No worker"


@bp.app_template_filter()
def number_of(jobs: int) -> str:
    """Write a number of jobs: 1 job, 1,200 jobs."""
    return f"{jobs:,} job{'' if jobs == 1 else 's'}"


@bp.app_template_filter()
def duration(seconds: float) -> str:
    """Put seconds into words: 0.04 s, 12 s, 3 min 05 s, 2 h 10 min, 3 d 4 h."""
    s = int(seconds)
    if s < 60:
        return f"{seconds:.{1 if s else 2}f} s" if s < 10 and s != seconds else f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60:02} s"
    if s < 86400:
        return f"{s // 3600} h {s // 60 % 60:02} min"
    return f"{s // 86400} d {s // 3600 % 24} h"


@bp.app_template_filter()
def took(job: dict[str, Any]) -> str:
    """Say how long a job ran, or has run so far."""
    if not job["started_at"] or not (job["ended_at"] or job["state"] == "started"):
        return ""
    seconds = (_time(job["ended_at"]) - _time(job["started_at"])).total_seconds()
    return duration(seconds if job["ended_at"] else int(seconds))


@bp.app_template_filter()
def ago(time: str) -> str:
    """Say how long ago a time was, in its largest unit."""
    seconds = int((_time(None) - _time(time)).total_seconds())
    return "just now" if seconds < 5 else f"{' '.join(duration(seconds).split()[:2])} ago"


@bp.app_template_filter()
def clock(time: str) -> str:
    """Write a time out."""
    return f"{time[:19].replace('T', ' ')} UTC"


@bp.app_template_filter()
def pretty(value: Any) -> str:
    """Write a value so that it can be read: a text as it is, what is long over several lines."""
    if isinstance(value, str):
        return value
    line = _json(_names(value))
    return line if len(line) <= SHORT else json.dumps(value, ensure_ascii=False, indent=2)


@bp.app_template_filter()
def cell(value: Any) -> str:
    """Write a cell of a table; its CSV file has all digits."""
    if isinstance(value, float):
        return f"{value:.6g}" if 1e-4 <= abs(value) < 1e6 else f"{value:.2f}" if abs(value) < 1e15 else str(value)
    return "" if value is None else value if isinstance(value, str) else _json(value)


@bp.app_template_filter()
def numeric(result: dict[str, Any]) -> set[int]:
    """Tell which columns of a table have nothing but numbers."""
    columns = zip(*result["rows"], strict=True)
    return {
        i for i, cells in enumerate(columns) if {type(value) for value in cells if value is not None} <= {int, float}
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _done(progress: dict[str, Any]) -> str:
    size, unit = _scale(progress)
    digits = 3 if size == 1 else 1
    done, total = (f"{(progress[name] or 0) / size:,.{digits}f}" for name in ("done", "total"))
    if digits == 3:
        done, total = (text.rstrip("0").rstrip(".") for text in (done, total))
    return (f"{done} of {total}" if progress["total"] else done) + (unit if size > 1 else "")


def _scale(progress: dict[str, Any]) -> tuple[int, str]:
    """Tell what one of the shown unit is, and its name: bytes are shown as megabytes."""
    unit = progress.get("unit", "it").strip()
    return (10**6, " MB") if unit in ("B", "byte", "bytes") else (1, "" if unit == "it" else f" {unit}")


def _time(text: str | None) -> datetime:
    return datetime.fromisoformat(text) if text else datetime.now(UTC)
