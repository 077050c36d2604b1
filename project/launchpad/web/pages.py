"""The pages: launch and list, one form, one job. Every action is a plain form and works without JavaScript."""

import json
import re
from contextlib import suppress
from secrets import token_hex
from typing import Any

from flask import Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, UnprocessableEntity

from launchpad.functions.catalog import Function, InvalidArguments
from launchpad.queue import schemas
from launchpad.queue.errors import JobNotFound, QueueFull
from launchpad.queue.logs import MAX_LINES
from launchpad.web import formatting
from launchpad.web.api import MAX_PER_PAGE
from launchpad.web.blueprint import bp
from launchpad.web.context import KEY
from launchpad.web.fragments import ACTIONS, job_context, list_context, read_filter
from launchpad.web.launching import find_function, time_of
from launchpad.web.state import manager
from launchpad.web.uploads import read_form

ACT_SECONDS = 5.0  # that an action on many jobs may take before it says how far it is


@bp.get("/")
def index() -> ResponseReturnValue:
    """Show the forms of all functions and the list of jobs. Query: `state`, `function`, `q`, `page`."""
    shown = list_context()
    query, page = shown["job_filter"], shown["listing"].page
    if request.args.get("page", 1, type=int) > page:
        return redirect(url_for(".index", **query, page=page))
    fragment = url_for(".jobs_fragment", **query, page=page if page > 1 else None)
    return render_template("launchpad/index.html", **shown, functions=manager().functions.values(), fragment=fragment)


@bp.route("/launch/<name>", methods=["GET", "POST"])
def launch(name: str) -> ResponseReturnValue:
    """Show the form of one function, filled in from the query or from the job `from`; launch it."""
    function = find_function(name)
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
    form, job_filter = request.form, read_filter(request.form)
    action, ids, everything = form.get("action", ""), form.getlist("id"), bool(form.get("all"))
    before = form.get("before", "+inf")
    if action not in ACTIONS or len(ids) > MAX_PER_PAGE or not re.fullmatch(r"\+inf|\d{1,20}", before, re.ASCII):
        raise BadRequest(f"An action is one of {', '.join(ACTIONS)}, on up to {MAX_PER_PAGE} jobs, or on all.")
    shown = {"action": action, "note": ACTIONS[action], "ids": ids, "job_filter": job_filter.query()}
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
    return redirect(url_for(".index", **job_filter.query(), page=form.get("page") or None), 303)


@bp.get("/jobs/<id>")
def job(id: str) -> str:
    """Show one job."""
    shown = job_context(id)
    return render_template(
        "launchpad/job.html",
        **shown,
        known=shown["job"].function in manager().functions,
        levels=schemas.LOG_LEVELS,
        fragment=url_for(".job_fragment", id=id),
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
    return redirect(url_for(".index", **read_filter(request.args).query(), page=request.args.get("page")), 303)


@bp.post("/jobs/<id>/stop")
def stop(id: str) -> ResponseReturnValue:
    """Stop a job that runs, or kill it if it is stopping already; cancel one that waits."""
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


def _launch(function: Function, arguments: dict[str, Any], key: str, at: str = "") -> str:
    """Launch a job once for this key, and answer its id."""
    # The browser's "back" brings an old key back: with other arguments it is another job all the same.
    # A file that is sent twice is stored in two places: its name and size are what counts.
    same = function.with_files(arguments, lambda _, file: [file["name"], file["size"]])
    key = " ".join((key, function.name, json.dumps(same, sort_keys=True), at))
    return manager().launch(function.name, arguments, key, time_of(at))[0].id
