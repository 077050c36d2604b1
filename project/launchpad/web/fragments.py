"""The parts of the pages that change while somebody looks, as HTML.

The page asks for them again and again, and puts in what differs (see `static/merge.js`). They are made by the templates
that made the page, `templates/launchpad/_*.html`: what is edited there is seen in both.
"""

from collections.abc import Callable
from typing import Any

from flask import Response, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import NotFound

from launchpad.queue.index import JobFilter
from launchpad.queue.states import ACTIVE, ENDED, STATES, WAITING
from launchpad.web.blueprint import bp
from launchpad.web.links import add_file_urls
from launchpad.web.state import manager, state

MAX_PAGE = 10**9
ACTIVE_SECONDS, IDLE_SECONDS = 1, 5  # from one look of a page to the next
# What can be done with many jobs at once, and what there is to know before.
ACTIONS = {
    "stop": "Jobs that run may clean up first; those that are stopping already are killed now. Jobs that have ended "
    "already stay as they are.",
    "retry": "Of these, the ones that failed, were stopped or canceled are queued again.",
    "delete": "Jobs that run are stopped first. Deleted jobs cannot be brought back.",
}


@bp.get("/fragments/jobs")
def jobs_fragment() -> Response:
    """Answer what changes on the page of the list. Query: as `/`."""
    return _cached(lambda: render_template("launchpad/fragment_jobs.html", **list_context()))


@bp.get("/fragments/jobs/<id>")
def job_fragment(id: str) -> Response:
    """Answer what changes on the page of a job."""
    return _cached(lambda: render_template("launchpad/fragment_job.html", **job_context(id)))


def _cached(make: Callable[[], str]) -> Response:
    """Answer what `make` answers, or has answered to the same question if nothing has changed since."""
    question = f"{request.script_root}{request.path}?".encode() + request.query_string
    return Response(state().cache.get_or_make(question, make, progress_can_wait=True), mimetype="text/html")


def list_context() -> dict[str, Any]:
    """Return what the templates of the list need; a page that is no longer there is the last one."""
    job_filter = read_filter(request.args)
    page = min(max(request.args.get("page", 1, type=int), 1), MAX_PAGE)
    listing = manager().page(*job_filter, page=page)
    if page > listing.pages:
        listing = manager().page(*job_filter, page=listing.pages)
    is_active = any(job.state in ACTIVE for job in listing.jobs)
    return {
        "listing": listing,
        "job_filter": job_filter.query(),
        "tabs": (None, *STATES),
        "actions": ACTIONS,
        "pause": ACTIVE_SECONDS if is_active else IDLE_SECONDS,
    }


def job_context(id: str) -> dict[str, Any]:
    """Return what the templates of one job need.

    Raises:
        JobNotFound: there is no such job.
    """
    job = manager().get(id)
    add_file_urls(job)
    return {
        "job": job,
        "earlier": manager().attempts(id)[:-1],
        "listing": manager().many([]),  # for the number of workers
        "log": _log_of(job.state),
        "pause": ACTIVE_SECONDS if job.state in ACTIVE else IDLE_SECONDS,
    }


def _log_of(state: str) -> str:
    """Tell whether a job in this state has a log, and whether it is all there: "none", "grows" or "whole"."""
    if state in WAITING:
        return "none"
    return "whole" if state in ENDED else "grows"


def read_filter(given: MultiDict[str, str]) -> JobFilter:
    """Read which jobs are asked for.

    Raises:
        NotFound: there is no such state.
    """
    state = given.get("state") or None
    if state not in (None, *STATES):
        raise NotFound("There is no such state.")
    return JobFilter(state, given.get("function") or None, given.get("q", "").strip())
