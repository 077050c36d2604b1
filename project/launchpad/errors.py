"""Errors: one sentence and the right status; RFC 9457 problems for a program, a page for a person."""

from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, json, make_response, render_template, request
from gunicorn.http.errors import ParseException
from redis.exceptions import ConnectionError, OutOfMemoryError, TimeoutError
from werkzeug.exceptions import HTTPException

from launchpad.board import JobNotFound, QueueFull, WrongState
from launchpad.catalog import InvalidArguments

RETRY_AFTER = 5  # seconds
BY_PROGRAMS = ("/api/", "/healthz", "/readyz", "/metrics")


def register(app: Flask) -> None:
    """Answer each of our exceptions with its status."""
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(JobNotFound, lambda error: problem(404, str(error)))
    app.register_error_handler(WrongState, lambda error: problem(409, str(error)))
    app.register_error_handler(InvalidArguments, lambda error: problem(422, str(error), errors=error.errors))
    app.register_error_handler(QueueFull, lambda error: problem(429, str(error)))
    app.register_error_handler(ParseException, lambda error: problem(400, f"The body cannot be read: {error}"))
    app.register_error_handler(OutOfMemoryError, _redis_full)
    for unreachable in (ConnectionError, TimeoutError):
        app.register_error_handler(unreachable, _redis)
    for unreachable in app.extensions["board"].files.failures:
        app.register_error_handler(unreachable, _store)


def problem(status: int, detail: str, **more: Any) -> Response:
    """Describe an error, as JSON below /api/ and as a page elsewhere."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    } | more
    if not request.path.startswith(BY_PROGRAMS):
        response = make_response(render_template("error.html", **body), status)
    else:
        response = Response(json.dumps(body), status, mimetype="application/problem+json")
    if status in (429, 503):
        response.headers["Retry-After"] = str(RETRY_AFTER)
    return response


def _http(error: HTTPException) -> Response:
    if error.response is not None or not error.code or error.code < 400:  # a redirect is one, too
        return make_response(error.get_response())
    response = problem(error.code, error.description or "")
    response.headers.extend((k, v) for k, v in error.get_headers() if k not in ("Content-Type", "Content-Length"))
    return response


def _redis(error: Exception) -> Response:
    current_app.logger.warning("Redis: %s", error)
    return problem(503, "Redis cannot be reached. Nothing is lost.")


def _redis_full(error: Exception) -> Response:
    current_app.logger.error("Redis: %s", error)
    return problem(503, "Redis is full. Nothing was changed, and nothing is lost.")


def _store(error: Exception) -> Response:
    current_app.logger.error("The file store: %s", error, exc_info=error)
    return problem(503, "The file store cannot be reached, or is full. Try again in a moment.")
