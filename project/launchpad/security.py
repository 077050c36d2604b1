"""Who may come in, and from where. Used by the server and by the dashboard alike."""

import hmac
from hashlib import sha256

from flask import Flask, Response, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized
from werkzeug.middleware.proxy_fix import ProxyFix

from launchpad.settings import Settings

# The health checks of the containers have no password, and are told nothing that needs one.
OPEN_PATHS = ("/healthz",)
HEADERS = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin"}
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def protect(app: Flask, settings: Settings) -> None:
    """Refuse cross-site writes (403), ask for the login where one is set (401), and set the security headers."""
    if trusted := settings.trusted_proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, trusted, trusted, trusted)  # type: ignore[method-assign]

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
        response.headers.extend(HEADERS)
        return response


def _is_same_site() -> bool:
    """Browsers say where a request comes from: in Sec-Fetch-Site, older ones in Origin or Referer; curl in none."""
    if site := request.headers.get("Sec-Fetch-Site"):
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin", request.headers.get("Referer"))
    return origin is None or origin.partition("://")[2].partition("/")[0] == request.host


def _is_logged_in(settings: Settings) -> bool:
    given = request.authorization
    if given is None or given.type != "basic":
        return False
    name = is_same(given.username or "", settings.login_username)
    password = is_same(given.password or "", settings.login_password)  # also where the name was wrong
    return name and password


def is_same(given: str, secret: str) -> bool:
    """Compare in a time that tells nothing: neither where the two differ, nor how long the secret is."""
    return hmac.compare_digest(*(sha256(text.encode()).digest() for text in (given, secret)))
