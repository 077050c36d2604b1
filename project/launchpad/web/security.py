"""Who may come in, and from where. Used by the server and by the dashboard alike."""

import hmac
from hashlib import sha256

from flask import Flask, Response, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized
from werkzeug.middleware.proxy_fix import ProxyFix

from launchpad.settings import Settings

# The browser loads and runs nothing but our own files: text of a job can never become a script.
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
HEADERS = {"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin"}
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def trust_proxies(app: Flask, number: int) -> None:
    """Let so many proxies in front say, in X-Forwarded-*, how the browser came here."""
    if number:
        app.wsgi_app = ProxyFix(app.wsgi_app, number, number, number, x_prefix=number)  # type: ignore[method-assign]


def check_request(settings: Settings, is_open: bool = False) -> None:
    """Let the current request pass, or raise what is to be answered instead.

    Args:
        settings: with the login, if one is asked for.
        is_open: whether it is answered without the login all the same.

    Raises:
        Forbidden: another site wants to write something.
        Unauthorized: a login is set, and the request has none, or a wrong one.
    """
    if request.method not in SAFE_METHODS and not _is_same_site():
        raise Forbidden("This request came from another site.")
    if settings.login_username and not is_open and not _is_logged_in(settings):
        raise Unauthorized("Name and password, please.", www_authenticate=WWWAuthenticate("basic", {"realm": "Login"}))


def set_headers(response: Response) -> Response:
    """Forbid what no page of ours needs: guessing types, frames of other sites, our addresses in their logs."""
    response.headers.extend(HEADERS)
    response.headers.setdefault("Content-Security-Policy", POLICY)
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
