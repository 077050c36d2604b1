"""The JSON API, for scripts and for the page itself, and the health checks."""

from collections.abc import Callable

from flask import Response, request, send_file, url_for
from pydantic import BaseModel
from werkzeug.exceptions import BadRequest, NotFound

from launchpad.functions.files import media_type
from launchpad.functions.results import IMAGES
from launchpad.queue.manager import PER_PAGE
from launchpad.queue.schemas import Job, Listing
from launchpad.queue.states import STATES
from launchpad.web.blueprint import bp
from launchpad.web.errors import problem
from launchpad.web.launching import read_launch
from launchpad.web.links import add_file_urls
from launchpad.web.schemas import FunctionInfo, Functions, Health, Readiness
from launchpad.web.state import manager, state

MAX_PAGE = 10**9
MAX_PER_PAGE = 200
MAX_LINES = 10**10 - 1


def answer(model: BaseModel) -> Response:
    """Answer a model as JSON."""
    return Response(to_json(model), mimetype="application/json")


def answer_from_cache(make: Callable[[], BaseModel]) -> Response:
    """Answer what `make` answers as JSON, or has answered to the same question if nothing has changed since."""
    question = f"{request.script_root}{request.path}?".encode() + request.query_string
    return Response(state().cache.get_or_make(question, lambda: to_json(make())), mimetype="application/json")


def to_json(model: BaseModel) -> str:
    """Write a model as JSON, with the addresses of the files of its jobs."""
    match model:
        case Job():
            add_file_urls(model)
        case Listing():
            add_file_urls(*model.jobs)
    return model.model_dump_json()


@bp.after_request
def _if_changed(response: Response) -> Response:
    """Answer 304 to who has this already: a page asks again and again, and mostly nothing has changed."""
    if request.method == "GET" and response.status_code == 200 and not response.direct_passthrough:
        response.headers["Cache-Control"] = "no-cache"  # it asks each time
        response.add_etag()
        if (known := request.headers.get("If-None-Match")) == response.headers["ETag"]:
            response.status_code = 304
        elif known:  # a weak one, or several; it takes ten times as long
            response.make_conditional(request)
    return response


@bp.get("/api/functions")
def list_functions() -> Response:
    """Tell the functions that can be launched, with their parameters as JSON Schema."""
    functions = [FunctionInfo.model_validate(function) for function in manager().functions.values()]
    return answer(Functions(functions=functions))


@bp.post("/api/jobs")
def launch_job() -> tuple[Response, int, dict[str, str]]:
    """Launch a job: 202 and the job; 200 and the same job for an Idempotency-Key that was used before.

    Errors: 400 malformed, 404 no such function, 413, 415, 422 invalid arguments, 429 queue full,
    503 no Redis or file store.
    """
    launch, key = read_launch(), request.headers.get("Idempotency-Key")
    job, created = manager().launch(launch.function.name, launch.arguments, key, launch.at)
    return answer(job), 202 if created else 200, {"Location": url_for(".get_job", id=job.id)}


@bp.get("/api/jobs")
def list_jobs() -> Response:
    """List a page of the jobs, newest first, or those with the given ids.

    Query: `id`, repeated; or `state`, `function`, `q` (words of the arguments, or how the id begins), `page` from 1,
    `per_page` up to 200. With `function`, the counts are those of the function.
    Errors: 400 malformed, 503 no Redis.
    """
    return answer_from_cache(_listing)


def _listing() -> Listing:
    state = request.args.get("state") or None
    if state and state not in STATES:
        raise BadRequest(f"state is one of {', '.join(STATES)}.")
    page, per_page = _number_of_query("page", 1, MAX_PAGE), _number_of_query("per_page", PER_PAGE, MAX_PER_PAGE)
    function, q = request.args.get("function") or None, request.args.get("q", "")
    if ids := request.args.getlist("id"):
        if len(ids) > MAX_PER_PAGE:
            raise BadRequest(f"Up to {MAX_PER_PAGE} ids at once.")
        return manager().many(ids, function)
    return manager().page(state, function, q, page, per_page)


@bp.get("/api/jobs/<id>")
def get_job(id: str) -> Response:
    """Tell one job. Errors: 404 no such job, 503 no Redis."""
    return answer_from_cache(lambda: manager().get(id))


@bp.get("/api/jobs/<id>/log")
def get_log(id: str) -> Response:
    """Tell what a job has printed, logged and warned of, line by line, up to 2,000 lines.

    Query: `after`, the number of lines that were read already: `next` of the last answer. `complete` says that the
    job has ended and that this was all.
    Errors: 400 malformed, 404 no such job, 503 no Redis.
    """
    return answer(manager().log(id, _number_of_query("after", 0, MAX_LINES, least=0)))


@bp.get("/api/jobs/<id>/files/<name>")
def get_file(id: str, name: str) -> Response:
    """Download a file that a job returned. Errors: 404 no such job or file, 503 no Redis or file store."""
    try:
        file, size = manager().open_file(id, name)
    except FileNotFoundError:
        raise NotFound(f"Job {id} has no file {name[:100]!r}.") from None
    kind = media_type(name)
    response = send_file(file, kind, as_attachment=kind not in IMAGES, download_name=name)
    response.content_length = size
    # Whatever a job returned, a browser runs nothing of it, not even if it is opened by itself.
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
    return response


@bp.delete("/api/jobs/<id>")
def delete_job(id: str) -> tuple[str, int]:
    """Delete a job, stopping it first if it runs: 204. Errors: 404 no such job, 503 no Redis."""
    manager().delete(id)
    return "", 204


@bp.post("/api/jobs/<id>/stop")
def stop_job(id: str) -> tuple[Response, int]:
    """Stop a job that runs, or kill it if it is `stopping` already; cancel one that waits: 202 and the job.

    Errors: 404 no such job, 409 it has ended, 503 no Redis.
    """
    return answer(manager().stop(id)), 202


@bp.post("/api/jobs/<id>/retry")
def retry_job(id: str) -> tuple[Response, int]:
    """Queue a failed, stopped or canceled job again: 202 and the job.

    Errors: 404 no such job, 409 it is in another state, 503 no Redis.
    """
    return answer(manager().retry(id)), 202


@bp.get("/healthz")
def health() -> Response:
    """Tell that this process serves: 200."""
    return answer(Health())


@bp.get("/readyz")
def ready() -> Response:
    """Tell whether a job that is launched now would run. Errors: 503 with what is missing: Redis or a worker."""
    workers = manager().ping()
    if not workers:
        return problem(503, "No worker is running.", redis="ok", workers=0)
    return answer(Readiness(workers=workers))


@bp.get("/metrics")
def metrics() -> Response:
    """Tell Prometheus how many jobs there are in each state, and how many workers. Errors: 503 no Redis."""
    found = manager().many([])
    busy = found.workers.busy
    gauges = {
        ("jobs", "Jobs that are kept, by state."): found.counts,
        ("workers", "Workers, by what they do."): {"busy": busy, "idle": found.workers.total - busy},
    }
    lines = []
    for (name, about), values in gauges.items():
        lines += [f"# HELP launchpad_{name} {about}", f"# TYPE launchpad_{name} gauge"]
        lines += [f'launchpad_{name}{{state="{state}"}} {number}' for state, number in values.items()]
    return Response("\n".join([*lines, ""]), content_type="text/plain; version=0.0.4; charset=utf-8")


def _number_of_query(name: str, default: int, most: int, least: int = 1) -> int:
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most):
        raise BadRequest(f"{name} is a number from {least} to {most}.")
    return int(text)
