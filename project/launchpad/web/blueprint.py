"""The blueprint that all our pages and the API belong to: what is set up here holds for nothing else."""

from flask import Blueprint, Response, request

from launchpad.web import security
from launchpad.web.state import state

bp = Blueprint(
    "launchpad", __name__, template_folder="templates", static_folder="static", static_url_path="/static/launchpad"
)
OPEN_ENDPOINTS = (f"{bp.name}.health",)  # the health checks of the containers have no password, and are told no secret


@bp.before_request
def check_request() -> None:
    """Refuse what another site wants to write, and who has no login where one is set."""
    security.check_request(state().settings, is_open=request.endpoint in OPEN_ENDPOINTS)


@bp.after_request
def set_headers(response: Response) -> Response:
    """Set the headers that keep others out."""
    return security.set_headers(response)
