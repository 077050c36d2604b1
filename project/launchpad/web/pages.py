"""The pages: launch and list, one form, one job. Every action is a plain form and works without JavaScript."""

import json
import re
from contextlib import suppress
from secrets import token_hex
from typing import Any, NamedTuple

from flask import Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest, NotFound, UnprocessableEntity

from launchpad.functions.catalog import Function, InvalidArguments
from launchpad.functions.forms import as_text
from launchpad.queue import schemas, states
from launchpad.queue.logs import MAX_LINES
from launchpad.queue.manager import JobNotFound, QueueFull
from launchpad.web import formatting
from launchpad.web.api import MAX_PER_PAGE, time_of
from launchpad.web.blueprint import bp
from launchpad.web.links import add_file_urls
from launchpad.web.state import manager, state
from launchpad.web.uploads import read_form

KEY = "idempotency-key"  # the hyphen keeps it apart from every parameter
ACT_SECONDS = 5.0  # that an action on many jobs may take before it says how far it is
# What can be done with many jobs at once, and what there is to know before.
ACTIONS = {
    "stop": "Jobs that have ended already stay as they are.",
    "retry": "Of these, the ones that failed, were stopped or canceled are queued again.",
    "delete": "Jobs that run are stopped first. Deleted jobs cannot be brought back.",
}

for _filter in (as_text, *formatting.FILTERS):
    bp.add_app_template_filter(_filter)

# What the script fills in to make a row of the list.
BLANK = schemas.Job.model_construct(id="ID", function="", arguments={}, state="queued", created_at=None)


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
    if page > listing.pages:
        return redirect(url_for(".index", **_query(job_filter), page=listing.pages))
    return render_template(
        "launchpad/index.html",
        functions=manager().functions.values(),
        listing=listing,
        job_filter=_query(job_filter),
        blank=BLANK,
        tabs=(None, *states.STATES),
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
            values = formatting.form_values(manager().get(id).arguments) | values
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
        count = manager().page(*job_filter, per_page=1).total if everything else len(ids)
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
    add_file_urls(found)
    return render_template(
        "launchpad/job.html",
        job=found,
        earlier=manager().attempts(id)[:-1],
        listing=manager().many([id]),
        known=found.function in manager().functions,
        levels=schemas.LOG_LEVELS,
    )


@bp.get("/jobs/<id>/log.txt")
def log(id: str) -> Response:
    """Download what is kept of the log of a job, as text."""
    text: list[str] = []
    page = manager().log(id, 0)
    while page.lines and len(text) <= MAX_LINES:  # a job may print faster than this reads
        text += [formatting.format_log_line(line) + "\n" for line in page.lines]
        page = manager().log(id, page.next)
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
        new = manager().launch_again(id, request.form.get(KEY, token_hex())).id
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
        "SHORT": formatting.MAX_INLINE_CHARACTERS,
        "states": states,
        "UPLOAD": state().settings.max_upload_mb * 1024**2,
    }


def _job_filter(given: MultiDict[str, str]) -> JobFilter:
    state = given.get("state") or None
    if state not in (None, *states.STATES):
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
    return manager().launch(function.name, arguments, key, time_of(at))[0].id
