"""The path below which a proxy has the whole app: SCRIPT_NAME."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Mount:
    """Takes SCRIPT_NAME off the path of each request where the WSGI server has not done it.

    gunicorn does, since it reads that variable itself; Flask's own server, which development uses, does not.
    """

    def __init__(self, app: "WSGIApplication", script_name: str):
        self.app = app
        self.script_name = script_name

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""
        path = environ["PATH_INFO"]
        if not environ.get("SCRIPT_NAME") and f"{path}/".startswith(f"{self.script_name}/"):
            environ |= {"SCRIPT_NAME": self.script_name, "PATH_INFO": path.removeprefix(self.script_name)}
        return self.app(environ, start_response)
