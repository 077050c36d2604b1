"""The JSON API, for scripts and for the page itself, and the health checks."""

from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request, url_for
from werkzeug.exceptions import BadRequest, NotFound, RequestEntityTooLarge, UnsupportedMediaType

from launchpad.board import PER_PAGE, Board
from launchpad.errors import problem
from launchpad.index import STATES

MAX_PER_PAGE = 200
# Bytes of a body that is not a file: arguments are kept in Redis, in memory.
MAX_ARGUMENTS = 16 * 1024 * 1024

bp = Blueprint("api", __name__)


def board() -> Board:
    """The board of this application."""
    found: Board = current_app.extensions["board"]
    return found


@bp.get("/api/functions")
def list_functions() -> Response:
    """Tell the functions that can be launched, with their parameters as JSON Schema."""
    names = ("name", "title", "description", "parameters", "timeout", "retries")
    return jsonify(functions=[{name: getattr(f, name) for name in names} for f in board().functions.values()])


@bp.post("/api/jobs")
def launch_job() -> tuple[Response, int, dict[str, str]]:
    """Launch a job: 202 and the job; 200 and the same job for an Idempotency-Key that was used before.

    Errors: 400 malformed, 404 no such function, 413, 415, 422 invalid arguments, 429 queue full, 503 no Redis.
    """
    name, parse, given = _multipart() if request.mimetype == "multipart/form-data" else _json()
    if name not in board().functions:
        raise NotFound(f"There is no function {name[:100]!r}.")
    arguments = getattr(board().functions[name], parse)(given)
    job, created = board().launch(name, arguments, request.headers.get("Idempotency-Key"))
    return jsonify(job), 202 if created else 200, {"Location": url_for("api.get_job", id=job["id"])}


@bp.get("/api/jobs")
def list_jobs() -> Response:
    """List a page of the jobs, newest first, or those with the given ids.

    Query: `id`, repeated; or `state`, `function`, `page` from 1, `per_page` up to 200. Errors: 400 malformed.
    """
    if ids := request.args.getlist("id"):
        if len(ids) > MAX_PER_PAGE:
            raise BadRequest(f"Up to {MAX_PER_PAGE} ids at once.")
        return jsonify(board().many(ids))
    state = request.args.get("state") or None
    if state and state not in STATES:
        raise BadRequest(f"state is one of {', '.join(STATES)}.")
    page, per_page = _number("page", 1, 10**9), _number("per_page", PER_PAGE, MAX_PER_PAGE)
    return jsonify(board().page(state, request.args.get("function") or None, page, per_page))


@bp.get("/api/jobs/<id>")
def get_job(id: str) -> Response:
    """Tell one job. Errors: 404."""
    return jsonify(board().get(id))


@bp.delete("/api/jobs/<id>")
def delete_job(id: str) -> tuple[str, int]:
    """Delete a job, stopping it first if it runs: 204. Errors: 404."""
    board().delete(id)
    return "", 204


@bp.post("/api/jobs/<id>/stop")
def stop_job(id: str) -> tuple[Response, int]:
    """Stop a job that runs, cancel one that waits: 202 and the job. Errors: 404; 409 it has ended."""
    return jsonify(board().stop(id)), 202


@bp.post("/api/jobs/<id>/retry")
def retry_job(id: str) -> tuple[Response, int]:
    """Queue a failed, stopped or canceled job again: 202 and the job. Errors: 404; 409 otherwise."""
    return jsonify(board().retry(id)), 202


@bp.get("/healthz")
def health() -> Response:
    """Tell that this process serves: 200."""
    return jsonify(server="ok")


@bp.get("/readyz")
def ready() -> Response:
    """Tell whether a job that is launched now would run: 200, or 503 with what is missing, Redis or a worker."""
    workers = board().ping()
    if not workers:
        return problem(503, "No worker is running.", redis="ok", workers=0)
    return jsonify(redis="ok", workers=workers)


def _json() -> tuple[str, str, Any]:
    request.max_content_length = MAX_ARGUMENTS
    if (request.content_length or 0) > MAX_ARGUMENTS:
        raise RequestEntityTooLarge(f"Arguments may have up to {MAX_ARGUMENTS // 1024**2} MB.")
    if not request.is_json and request.get_data():
        raise UnsupportedMediaType("Send application/json or multipart/form-data.")
    body = _loads(request.get_data())
    match body:
        case {"function": str(name), **rest} if rest.keys() <= {"arguments"}:
            arguments = rest.get("arguments", {})
            if isinstance(arguments, dict):
                return name, "parse", arguments
    raise BadRequest('Send {"function": "name", "arguments": {…}}.')


def _loads(data: bytes) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        return current_app.json.loads(data, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is not JSON: {error}"[:300]) from None


def _multipart() -> tuple[str, str, Any]:
    form = request.form.to_dict(flat=False)
    return form.pop("function", [""])[0], "parse_form", form


def _number(name: str, default: int, most: int) -> int:
    text = request.args.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise BadRequest(f"{name} is a number from 1 to {most}.")
    return int(text)
