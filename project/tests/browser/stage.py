"""What the tests of the page and its figure share: a real Chromium, as the system has it, and a real server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Page, Request

from helpers import APP, answers, process, wait_until

OpenPage = Callable[..., Page]

HOSTILE = "<img src=x onerror=\"document.title='hacked'\"></textarea>&amp; {{ 7*7 }} \"'"


@contextmanager
def server(port: int, redis_url: str, project: Path = APP, **environ: str) -> Iterator[str]:
    """Run the server, and tell its URL."""
    command = ["gunicorn", "--bind", f"127.0.0.1:{port}", "server:create_app()"]
    with process(command, project, REDIS_URL=redis_url, **environ):
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"))
        yield f"http://127.0.0.1:{port}"


class Watch:
    """Notes what a page must not do: report an error, ask another host, or poll twice at the same time."""

    def __init__(self, page: Page):
        self.complaints: list[str] = []
        self.polls: set[Request] = set()
        page.on("console", self.console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self.request)
        page.on("requestfinished", lambda request: self.polls.discard(request))
        page.on("requestfailed", lambda request: self.polls.discard(request))

    def console(self, message: ConsoleMessage) -> None:
        # The browser reports any answer that is an error; a breach of the policy is one too, with other words.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.complaints.append(message.text)

    def request(self, request: Request) -> None:
        if urlsplit(request.url).hostname != "127.0.0.1":
            self.complaints.append(f"asked for {request.url}")
        if is_poll(request):
            self.polls.add(request)
            if len(self.polls) > 1:
                self.complaints.append("polls twice at the same time")


def is_poll(request: Request) -> bool:
    return request.method == "GET" and "/fragments/jobs" in urlsplit(request.url).path
