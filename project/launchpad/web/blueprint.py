"""The blueprint that all our pages and the API belong to: what is set up here holds for nothing else."""

from flask import Blueprint, Response, current_app, request

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


@bp.before_request
def refuse_two_views_at_one_address() -> None:
    """Raise RuntimeError where the app has a view at the same address, which would never be asked."""
    rule = request.url_rule
    others = (other for other in current_app.url_map.iter_rules() if not other.endpoint.startswith(f"{bp.name}."))
    if rule is not None and request.endpoint == f"{bp.name}.index" and rule.rule in (other.rule for other in others):
        raise RuntimeError(f"The app has a view at {rule.rule}, too: give Launchpad another url_prefix.")


@bp.after_request
def set_headers(response: Response) -> Response:
    """Set the headers that keep others out."""
    return security.set_headers(response)
