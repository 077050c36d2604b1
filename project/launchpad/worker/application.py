"""The owner's Flask app in a worker: its functions are those that run, and they run in a context of it."""

from collections.abc import Mapping
from functools import cache

from flask import Flask
from flask.cli import NoAppException, ScriptInfo

from launchpad.functions.catalog import Function
from launchpad.settings import Settings


@cache
def application() -> Flask:
    """Return the app that the settings name; it is made once in each process.

    Raises:
        RuntimeError: it cannot be made; the message is one line that says why.
    """
    settings = Settings.from_environ()
    try:
        app = ScriptInfo(settings.flask_app).load_app()
    except (Exception, SystemExit) as error:  # whatever the owner's modules do
        raise RuntimeError(f"The app {settings.flask_app} cannot be made: {_in_one_line(error)}") from error
    if "launchpad" not in app.extensions:
        raise RuntimeError(f"The app {settings.flask_app} has no Launchpad in it.")
    _set_address(app, settings)
    return app


def functions() -> Mapping[str, Function]:
    """Return the functions that can be launched, by name.

    Raises:
        RuntimeError: the app, which has them, cannot be made.
    """
    found: Mapping[str, Function] = application().extensions["launchpad"].functions
    return found


def _set_address(app: Flask, settings: Settings) -> None:
    """Let `url_for` work without a request: unless the owner has told the app's address, it is that of the server."""
    if not app.config["SERVER_NAME"]:
        app.config["SERVER_NAME"] = f"127.0.0.1:{settings.server_port}"
        if settings.script_name:
            app.config["APPLICATION_ROOT"] = settings.script_name


def _in_one_line(error: BaseException) -> str:
    """Say what went wrong; of an import that failed, Flask's own message is a whole traceback."""
    if isinstance(error, NoAppException) and isinstance(error.__context__, ImportError):
        error = error.__context__
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}"
