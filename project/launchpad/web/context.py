"""What our templates can use beside what a view gives them. The app's own templates see nothing of it."""

import re
from functools import partial
from secrets import token_hex
from typing import Any

from flask import request, url_for
from markupsafe import Markup

from launchpad.queue import states
from launchpad.web import formatting
from launchpad.web.blueprint import bp
from launchpad.web.state import state

KEY = "idempotency-key"  # the hyphen keeps it apart from every parameter


@bp.context_processor
def page_context() -> dict[str, Any]:
    """Return it: `fmt`, which puts things into words, and what the frame of each page shows."""
    settings = state().settings
    return {
        "fmt": formatting,
        "states": states,
        "icon": partial(_icon, url_for("launchpad.static", filename="icons.svg")),
        "site_title": settings.title,
        "monitor_url": settings.dashboard_url or _url_of_port(settings.dashboard_port),
        "new_key": token_hex,
        "KEY": KEY,
        "MAX_UPLOAD_BYTES": settings.max_upload_mb * 1024**2,
    }


def _icon(address: str, name: str) -> Markup:
    return Markup('<svg class="icon" aria-hidden="true"><use href="{}#{}"/></svg>').format(address, name)


def _url_of_port(port: int) -> str:
    host = re.sub(r":\d+$", "", request.host)
    return f"{request.scheme}://{host}:{port}/"
