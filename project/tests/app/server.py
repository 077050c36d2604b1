"""The Flask app of the tests' own project: nothing but Launchpad."""

from flask import Flask

from launchpad import Launchpad
from launchpad.settings import Settings


def create_app(settings: Settings | None = None) -> Flask:
    """Make the app; without settings, from the environment."""
    app = Flask(__name__)
    Launchpad(app, "jobs", settings=settings)
    return app
