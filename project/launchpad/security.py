"""Who may come in, and from where. Used by the server and by the dashboard alike."""

import hmac

from flask import Flask, Response, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized

from launchpad.settings import Settings

# Health checks have no password, and tell nothing that needs one.
OPEN_PATHS = ("/healthz", "/readyz")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def protect(app: Flask, settings: Settings) -> None:
    """Refuse cross-site writes (403), ask for the login where one is set (401), and set the security headers."""

    @app.before_request
    def refuse_cross_site_writes() -> None:
        if request.method not in SAFE_METHODS and not _is_same_site():
            raise Forbidden("This request came from another site.")

    @app.before_request
    def ask_for_login() -> None:
        if settings.login_username and request.path not in OPEN_PATHS and not _is_logged_in(settings):
            raise Unauthorized(
                "Name and password, please.", www_authenticate=WWWAuthenticate("basic", {"realm": "Login"})
            )

    @app.after_request
    def set_headers(response: Response) -> Response:
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("X-Frame-Options", "DENY")
        response.headers.setdefault("Referrer-Policy", "same-origin")
        return response


def _is_same_site() -> bool:
    """Browsers say where a request comes from: in Sec-Fetch-Site, older ones in Origin; curl says neither."""
    if site := request.headers.get("Sec-Fetch-Site"):
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or origin.partition("://")[2] == request.host


def _is_logged_in(settings: Settings) -> bool:
    given = request.authorization
    if given is None or given.type != "basic":
        return False
    # Both are always compared, in constant time: the answer's time tells nothing.
    name = hmac.compare_digest((given.username or "").encode(), settings.login_username.encode())
    password = hmac.compare_digest((given.password or "").encode(), settings.login_password.encode())
    return name and password
