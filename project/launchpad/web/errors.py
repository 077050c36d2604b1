"""Errors: one sentence and the right status; RFC 9457 problems for a program, a page for a person.

They hold for what the blueprint serves, and for addresses below those that nothing is at. An app has its own handlers
for its own views; Flask asks those of an app for a status before those of a blueprint for any status, so ours are
registered for each status.
"""

from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from flask import Response, current_app, make_response, render_template, request
from gunicorn.http.errors import ParseException
from redis.exceptions import ConnectionError, OutOfMemoryError, TimeoutError
from werkzeug.exceptions import HTTPException, default_exceptions
from werkzeug.routing import RequestRedirect

from launchpad.functions.catalog import InvalidArguments
from launchpad.queue.errors import JobNotFound, QueueFull, WrongState
from launchpad.web import security
from launchpad.web.blueprint import OPEN_ENDPOINTS, bp
from launchpad.web.context import page_context
from launchpad.web.schemas import Problem
from launchpad.web.state import manager, state

RETRY_SECONDS = 5
FOR_PROGRAMS = ("/api/", "/fragments/", "/healthz", "/readyz", "/metrics")


def problem(status: int, detail: str, **more: Any) -> Response:
    """Describe an error, as JSON for a program and as a page for a person."""
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, **more)
    if not request.path.removeprefix(state().url_prefix).startswith(FOR_PROGRAMS):
        response = make_response(render_template("launchpad/error.html", **page_context(), **body.model_dump()), status)
    else:
        response = Response(body.model_dump_json(), status, mimetype="application/problem+json")
    if status in (429, 503):
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def http_problem(error: HTTPException) -> Response:
    """Describe an error of HTTP, with its headers."""
    if error.response is not None or not error.code or error.code < 400:  # a redirect is one, too
        return make_response(error.get_response())
    response = problem(error.code, error.description or "")
    response.headers.extend((k, v) for k, v in error.get_headers() if k not in ("Content-Type", "Content-Length"))
    return response


for _status in default_exceptions:
    bp.register_error_handler(_status, http_problem)


@bp.errorhandler(Exception)
def _unexpected(error: Exception) -> Response:
    """Answer 503 where the file store fails; leave the rest to Flask, which logs it, and to our handler of a 500.

    It stands for all exceptions, since one of the app for all would be asked before ours for a status.
    """
    if isinstance(error, HTTPException):
        return http_problem(error)
    if isinstance(error, manager().files.failures):
        current_app.logger.error("The file store: %s", error, exc_info=error)
        return problem(503, "The file store cannot be reached, or is full. Try again in a moment.")
    raise error


@bp.errorhandler(JobNotFound)
def _not_found(error: JobNotFound) -> Response:
    return problem(404, str(error))


@bp.errorhandler(WrongState)
def _wrong_state(error: WrongState) -> Response:
    return problem(409, str(error))


@bp.errorhandler(InvalidArguments)
def _invalid(error: InvalidArguments) -> Response:
    return problem(422, str(error), errors=error.errors)


@bp.errorhandler(QueueFull)
def _queue_full(error: QueueFull) -> Response:
    return problem(429, str(error))


@bp.errorhandler(ParseException)
def _unreadable(error: ParseException) -> Response:
    return problem(400, f"The body cannot be read: {error}")


@bp.errorhandler(ConnectionError)
@bp.errorhandler(TimeoutError)
def _no_redis(error: Exception) -> Response:
    current_app.logger.warning("Redis: %s", error)
    return problem(503, "Redis cannot be reached. Nothing is lost.")


@bp.errorhandler(OutOfMemoryError)
def _redis_full(error: Exception) -> Response:
    current_app.logger.error("Redis: %s", error)
    return problem(503, "Redis is full. Nothing was changed, and nothing is lost.")


@bp.before_app_request
def answer_unknown_addresses() -> Response | None:
    """Answer 404 and 405 at the addresses that are ours; Flask would ask the handlers of the app for them.

    Without a prefix, that is any address, but what the app has handlers of its own for.
    """
    error = request.routing_exception
    if error is None:
        return None
    is_redirect = isinstance(error, RequestRedirect)
    if is_redirect and not _leads_to_us(error):
        return None
    if not is_redirect and not _is_ours(request.path) and (state().url_prefix or _has_handler(error)):
        return None
    try:
        security.check_request(state().settings, is_open=_is_open(request.path))
    except HTTPException as refusal:
        return security.set_headers(http_problem(refusal))
    return None if is_redirect else security.set_headers(http_problem(error))


def _leads_to_us(redirect: HTTPException) -> bool:
    """Tell whether Flask redirects to an address of ours, as it does from one with two slashes."""
    path = urlsplit(redirect.get_response().location).path.removeprefix(request.script_root.rstrip("/"))
    endpoints = (rule.endpoint for rule in current_app.url_map.iter_rules() if rule.rule == path)
    return any(endpoint.startswith(f"{bp.name}.") for endpoint in endpoints)


def _is_open(path: str) -> bool:
    """Tell whether an address is answered without the login: then it is for another method, too."""
    rules = current_app.url_map.iter_rules()
    return any(rule.endpoint in OPEN_ENDPOINTS and rule.rule == path for rule in rules)


def _is_ours(path: str) -> bool:
    """Tell whether an address begins as ours do: with the prefix, or without one, with /api, /jobs and the like."""
    prefix, first = state().url_prefix, path.split("/")[1]
    if prefix:
        return path.startswith(f"{prefix}/")
    ours = (rule.rule for rule in current_app.url_map.iter_rules() if rule.endpoint.startswith(f"{bp.name}."))
    return first not in ("", "static") and first in {address.split("/")[1] for address in ours}


def _has_handler(error: HTTPException) -> bool:
    """Tell whether the app has a handler for an error wherever it happens."""
    handlers = current_app.error_handler_spec[None]
    return bool(handlers.get(error.code) or handlers.get(None))
