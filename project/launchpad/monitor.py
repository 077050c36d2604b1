"""The monitor: rq-dashboard 0.9, made safe.

Its pages are used as they are; what they change goes through the manager, as on our own page. Where a part of it is
replaced, a comment says why: a newer version may need less.
"""

import json
import re
import secrets
from typing import Any, NamedTuple

import rq
from flask import Flask, Response, current_app, g, request
from jinja2.ext import Extension
from redis import Redis
from redis.exceptions import ConnectionError, TimeoutError
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.serializers import JSONSerializer
from rq_dashboard import web
from werkzeug.exceptions import Conflict, MethodNotAllowed, NotFound, ServiceUnavailable

from launchpad.queue import job as queue_job
from launchpad.queue.errors import JobNotFound
from launchpad.queue.manager import JobManager
from launchpad.settings import Settings
from launchpad.web import security

# What the parts of an address may be: rq-dashboard answers 500 to others, and writes queue_name into a script.
ADDRESS = {
    "instance_number": "0",
    "job_id": r"[\w-]+",
    "queue_name": r"[\w.:-]+",
    "registry_name": "queued|scheduled|deferred|started|finished|failed|canceled",
    "per_page": r"[1-9]\d{0,2}",
    "order": "asc|dsc",
    "page": r"[1-9]\d{0,8}",
}
# A script needs the nonce, or our address. The pages have styles in their tags, and underscore.js needs eval.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self' 'nonce-{}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'"
)


class MonitorState(NamedTuple):
    """What the monitor keeps for its app: the jobs; it launches none."""

    manager: JobManager


def create_app(settings: Settings | None = None) -> Flask:
    """Make the dashboard; without settings, from the environment."""
    settings = settings or Settings.from_environ()
    app = Flask("rq_dashboard")  # its own name: its static files are found by it
    app.config["RQ_DASHBOARD_REDIS_URL"] = ["Redis"]  # it only shows this; the real one may hold a password
    app.extensions["launchpad"] = MonitorState(JobManager(settings, {}))
    app.redis_conn = app.extensions["launchpad"].manager.redis  # type: ignore[attr-defined]
    replace_parts()
    app.jinja_env.add_extension(SafeTemplates)
    set_content_policy(app)
    protect(app, settings)
    app.before_request(refuse_bad_requests)
    app.register_blueprint(web.blueprint)
    app.add_url_rule("/healthz", view_func=lambda: {"redis": manager().redis.ping()})
    answer_errors(app)
    return app


def protect(app: Flask, settings: Settings) -> None:
    """Guard each request to the app, as those to our own pages are."""
    security.trust_proxies(app, settings.trusted_proxies)
    app.before_request(lambda: security.check_request(settings, is_open=request.path == "/healthz"))
    app.after_request(security.set_headers)


def manager() -> JobManager:
    """The manager of this application."""
    found: JobManager = current_app.extensions["launchpad"].manager
    return found


class TolerantJSON(JSONSerializer):
    """Reads what is not JSON as a text that says so: no pickle is ever loaded, and no page fails."""

    @staticmethod
    def loads(s: bytes, *args: Any, **kwargs: Any) -> Any:
        """Read JSON; NaN, which a browser could not read, as text."""
        try:
            return json.loads(s, parse_constant=str)
        except ValueError:
            return f"(not JSON: {len(s)} bytes)"


class Job(queue_job.Job):
    """A job as rq-dashboard reads it."""

    def __init__(self, id: str | None = None, connection: Any = None, serializer: Any = None):
        super().__init__(id, connection, TolerantJSON)  # whatever is asked for: in places it is pickle

    @property
    def dependency_ids(self) -> list[bytes]:  # type: ignore[override]
        """The jobs that it waits for; RQ no longer answers them as bytes, which rq-dashboard decodes."""
        return [id.encode() for id in super().dependency_ids]

    def get_call_string(self) -> str | None:
        """The description: the call itself may not be JSON."""
        return self.description

    def delete(self, *args: Any, **kwargs: Any) -> None:
        """Stop the job if it runs, and delete it; deleted alone, it would go on and reappear."""
        manager().delete(self.id)


class Queue(rq.Queue):
    """A queue as rq-dashboard reads it."""

    job_class = Job

    def empty(self) -> None:
        """Delete each job; RQ would leave traces of them."""
        for job in self.jobs:
            job.delete()

    def compact(self) -> None:
        """Drop ids without a job, as fetching does; RQ would rename the queue while workers take jobs from it."""
        self.get_jobs()


class Worker(rq.Worker):
    """A worker as rq-dashboard reads it."""

    job_class = Job


def requeue_job(job_id: str, connection: Redis) -> None:
    """Queue a failed job again, whoever launched it; RQ's own function would unpickle it."""
    job = queue_job.Job.fetch(job_id, connection).requeue()
    connection.persist(job.key)  # it was to expire, and would do so in the queue


def replace_parts() -> None:
    """Give rq-dashboard our classes, and our connection, which has time limits, instead of a new one per request."""
    web.Job, web.Queue, web.Worker = Job, Queue, Worker
    web.requeue_job = requeue_job
    web.from_url = lambda *_, **__: (None, manager().redis)
    web.RedisConnectionError = ()  # caught by nothing: its front page would answer 200


class SafeTemplates(Extension):
    """Changes rq-dashboard's templates when Jinja loads them."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Let the browser escape (`<%-`) whatever it fills in (`<%=`), and mark the page's own script."""
        source = re.sub(r"\$\('<div/>'\)\.text\((.+?)\)\.html\(\)", r"\1", source)  # escaped already, so far
        source = source.replace('<script type="text/javascript">', '<script nonce="{{ g.nonce }}">')
        return source.replace("<%=", "<%-")


def set_content_policy(app: Flask) -> None:
    """Let the browser run only the page's own scripts, should one get past the escaping."""

    @app.before_request
    def make_nonce() -> None:
        g.nonce = secrets.token_urlsafe()

    @app.after_request
    def set_header(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = CONTENT_POLICY.format(g.nonce)
        return response


def refuse_bad_requests() -> None:
    """Answer 404 to addresses that rq-dashboard would stumble over, and 405 where it lets a GET change something."""
    for name, value in (request.view_args or {}).items():
        if name in ADDRESS and not re.fullmatch(ADDRESS[name], str(value), re.ASCII):
            raise NotFound
    if request.endpoint == "rq_dashboard.requeue_all" and request.method != "POST":
        raise MethodNotAllowed(["POST"])


def answer_errors(app: Flask) -> None:
    """Answer the errors of the manager, of RQ and of Redis with their status."""
    for unknown in (JobNotFound, NoSuchJobError):
        app.register_error_handler(unknown, lambda error: NotFound(str(error)))
    app.register_error_handler(InvalidJobOperation, lambda _: Conflict("The job is no longer in that state."))
    for unreachable in (ConnectionError, TimeoutError):
        app.register_error_handler(unreachable, lambda _: ServiceUnavailable("Redis cannot be reached.", retry_after=5))
