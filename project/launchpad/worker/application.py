"""The owner's Flask app in a worker: its functions are those that run, and they run in a context of it."""

from collections.abc import Mapping
from functools import cache

from flask import Flask
from flask.cli import NoAppException, ScriptInfo

from launchpad.functions.catalog import Function
from launchpad.functions.mistakes import Mistake, one_line
from launchpad.settings import Settings


@cache
def application() -> Flask:
    """Return the app that the settings name; it is made once in each process.

    Raises:
        Mistake: it cannot be made; the message is one line that says why.
    """
    settings = Settings.from_environ()
    try:
        app = ScriptInfo(settings.flask_app).load_app()
    except Mistake:
        raise
    except (Exception, SystemExit) as error:  # whatever the owner's modules do
        raise Mistake(f"The app {settings.flask_app} cannot be made: {one_line(_cause(error))}") from error
    if "launchpad" not in app.extensions:
        raise Mistake(f"The app {settings.flask_app} has no Launchpad in it: call Launchpad(app, jobs) there.")
    _set_address(app, settings)
    return app


def functions() -> Mapping[str, Function]:
    """Return the functions that can be launched, by name.

    Raises:
        Mistake: the app, which has them, cannot be made.
    """
    found: Mapping[str, Function] = application().extensions["launchpad"].functions
    return found


def _set_address(app: Flask, settings: Settings) -> None:
    """Let `url_for` work without a request: unless the owner has told the app's address, it is that of the server."""
    if not app.config["SERVER_NAME"]:
        app.config["SERVER_NAME"] = f"127.0.0.1:{settings.server_port}"
        if settings.script_name:
            app.config["APPLICATION_ROOT"] = settings.script_name


def _cause(error: BaseException) -> BaseException:
    """Return what went wrong; of an import that failed, Flask's own message is a whole traceback."""
    if isinstance(error, NoAppException) and isinstance(error.__context__, ImportError):
        return error.__context__
    return error
