"""The web server: the page and the API. The container `server` runs it under gunicorn."""

from flask import Flask

import jobs
from launchpad import api, cli, errors, openapi, pages, security, uploads
from launchpad.answers import Answers
from launchpad.board import Board
from launchpad.catalog import collect
from launchpad.settings import Settings


def create_app(settings: Settings | None = None) -> Flask:
    """Make the application; without settings, from the environment."""
    settings = settings or Settings.from_environ()
    app = Flask(__name__, static_folder="launchpad/static", template_folder="launchpad/templates")
    app.config["MAX_CONTENT_LENGTH"] = settings.max_upload_mb * 1024 * 1024
    app.config["MAX_FORM_MEMORY_SIZE"] = api.MAX_ARGUMENTS
    app.json.sort_keys = False  # type: ignore[attr-defined]  # the most frequent word stays the first
    app.extensions["settings"] = settings
    app.extensions["board"] = Board(settings, collect(jobs))
    app.extensions["answers"] = Answers(app.extensions["board"].redis)
    security.protect(app, settings)
    uploads.register(app)
    app.register_blueprint(pages.bp)
    app.register_blueprint(api.bp)
    app.register_blueprint(openapi.bp)
    app.cli.add_command(cli.launch)
    errors.register(app)
    return app
