"""Your Flask app, with Launchpad in it. The container `server` runs it under gunicorn."""

from flask import Flask

from launchpad import Launchpad
from launchpad.settings import Settings


def create_app(settings: Settings | None = None) -> Flask:
    """Make the app; without settings, from the environment."""
    app = Flask(__name__)
    Launchpad(app, "jobs", settings=settings)
    return app
