"""The Flask extension: `Launchpad(app, jobs)` adds the page, the API and the terminal command to an app."""

from types import ModuleType

from flask import Flask, Response, request
from werkzeug.exceptions import NotFound

from launchpad import cli
from launchpad.functions.catalog import collect
from launchpad.functions.mistakes import load
from launchpad.queue.manager import JobManager
from launchpad.settings import Settings
from launchpad.web import api, errors, fragments, openapi, pages, security, uploads
from launchpad.web.blueprint import bp
from launchpad.web.cache import ResponseCache
from launchpad.web.mount import Mount
from launchpad.web.state import State

# What registers its views with the blueprint when it is imported.
VIEWS = (api, errors, fragments, openapi, pages, uploads)


def answer_health_check() -> Response | None:
    """Answer the health check of the container, which knows no prefix; an app may have a view of its own there."""
    is_unknown = isinstance(request.routing_exception, NotFound)
    return api.health() if is_unknown and request.path == "/healthz" else None


class Launchpad:
    """Adds pages, an API and a terminal command for the functions of a module to a Flask app.

    Args:
        app: the app; without it, call `init_app` later.
        jobs: the module, or the package, with the functions that are decorated with `@job`; or its name: then
            a mistake in it is the last line on the terminal, whatever it is.
        url_prefix: the path below which all of it is, like "/tools".
        settings: otherwise those of the environment.

    Raises:
        Mistake: the functions cannot be imported, or one cannot be launched as it is.
        SystemExit: a setting of the environment is wrong.
        ValueError: the app has a view where our first page is to be.
    """

    def __init__(
        self,
        app: Flask | None = None,
        jobs: ModuleType | str | None = None,
        *,
        url_prefix: str = "",
        settings: Settings | None = None,
    ):
        if app is not None and jobs is not None:
            self.init_app(app, jobs, url_prefix=url_prefix, settings=settings)
        elif app is not None or jobs is not None:
            raise TypeError("Launchpad takes an app and the module with the functions, or neither.")

    def init_app(
        self, app: Flask, jobs: ModuleType | str, *, url_prefix: str = "", settings: Settings | None = None
    ) -> None:
        """Do what the constructor does with an app."""
        settings = settings or Settings.from_environ()
        url_prefix = url_prefix.rstrip("/")
        if f"{url_prefix}/" in (rule.rule for rule in app.url_map.iter_rules()):
            raise ValueError(f"The app has a view at {url_prefix}/: give Launchpad another url_prefix.")
        manager = JobManager(settings, collect(load(jobs) if isinstance(jobs, str) else jobs))
        app.extensions["launchpad"] = State(
            settings=settings,
            functions=manager.functions,
            manager=manager,
            cache=ResponseCache(manager.redis),
            url_prefix=url_prefix,
        )
        if settings.script_name:
            app.wsgi_app = Mount(app.wsgi_app, settings.script_name)  # type: ignore[method-assign]
        security.trust_proxies(app, settings.trusted_proxies)
        app.before_request(answer_health_check)
        app.register_blueprint(bp, url_prefix=url_prefix or None)
        app.cli.add_command(cli.launch)
