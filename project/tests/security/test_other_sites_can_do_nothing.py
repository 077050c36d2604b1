"""Other sites, in whatever browser: they can neither write, nor read, nor frame; and every answer says so."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import product

import pytest
from flask import Flask
from playwright.sync_api import Browser

import dashboard
import server
from helpers import answers, free_port, process, wait_until
from launchpad.queue.manager import JobManager
from launchpad.settings import Settings

# What browsers say of a request that comes from elsewhere. "null" is that of a sandboxed frame, a file or a redirect.
ELSEWHERE = [
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:8080"},
    {"Sec-Fetch-Site": "Same-Origin "},
    {"Sec-Fetch-Site": "nonsense"},
    {"Origin": "https://evil.example"},
    {"Origin": "https://evil.example", "Referer": "http://localhost/"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "localhost"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://evil.example/http://localhost"},
    {"Origin": "http://localhost@evil.example"},
    {"Referer": "https://evil.example/page"},
]
WRITES = {
    server: ("/api/jobs", "/api/jobs/x/stop", "/api/jobs/x/retry", "/launch/wait", "/jobs/act", "/jobs/x/delete"),
    dashboard: ("/requeue/default", "/job/x/delete", "/job/x/requeue", "/queue/default/queued/empty",
                "/queue/default/compact"),
}  # fmt: skip


@pytest.fixture(params=[server, dashboard], ids=["server", "dashboard"])
def writes(request: pytest.FixtureRequest, settings: Settings) -> Iterator[tuple[Flask, tuple[str, ...]]]:
    """An application, and where it lets somebody change something."""
    app = request.param.create_app(settings)
    yield app, WRITES[request.param]
    app.extensions["launchpad"].manager.redis.close()


@pytest.mark.parametrize("headers", ELSEWHERE, ids=str)
def test_a_write_from_elsewhere_is_refused(writes: tuple[Flask, tuple[str, ...]], headers: dict[str, str]) -> None:
    app, paths = writes
    for path, method in product(paths, ("POST", "PUT", "DELETE", "PATCH")):
        assert (app.test_client().open(path, method=method, headers=headers).status_code, path) == (403, path)


def test_every_answer_has_the_headers_that_keep_others_out(settings: Settings, manager: JobManager) -> None:
    id = manager.launch("wait", {"num_iterations": 1})[0].id
    with manager.files.open(f"{id}/out/a.svg", "wb") as file:
        file.write(b"<svg/>")
    paths = ["/", "/launch/wait", f"/jobs/{id}", f"/api/jobs/{id}", f"/api/jobs/{id}/files/a.svg", "/api/docs",
             "/api/openapi.json", "/static/launchpad/style.css", "/static/launchpad/none.js", "/healthz", "/readyz",
             "/nowhere",
             "/0/view/jobs", "/0/data/queues.json", "/static/css/main.css", f"/0/view/job/{id}"]  # fmt: skip
    login = settings.model_copy(update={"login_username": "a", "login_password": "b"})
    apps = [(module, module.create_app(chosen)) for module, chosen in product((server, dashboard), (settings, login))]
    for (module, app), path, method in product(apps, paths, ("GET", "HEAD", "POST", "TRACE")):
        if module is server and path == "/static/css/main.css":
            continue  # a file of the owner's own
        with app.test_client().open(path, method=method) as answer:
            seen = answer.headers
            assert seen["X-Content-Type-Options"] == "nosniff"
            assert seen["X-Frame-Options"] == "DENY"
            assert seen["Referrer-Policy"] == "same-origin"
            policy = seen["Content-Security-Policy"]
            assert "default-src 'self'" in policy or "default-src 'none'" in policy
            scripts = policy.partition("script-src")[2].partition(";")[0]
            assert "unsafe-inline" not in scripts
            assert module is dashboard or "script" not in policy, "the server's pages have no script but app.js"
            assert "Access-Control-Allow-Origin" not in seen
    for _, app in apps:
        app.extensions["launchpad"].manager.redis.close()


@pytest.fixture
def evil() -> Iterator[str]:
    """The URL of another site."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<h1>evil</h1>")

    with HTTPServer(("127.0.0.1", 0), Handler) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield f"http://localhost:{site.server_port}/"
        site.shutdown()
        thread.join()


FORM = """url => new Promise(done => {
    const frame = Object.assign(document.createElement("iframe"), {name: "frame", onload: () => done()});
    const form = Object.assign(document.createElement("form"), {method: "post", action: url, target: "frame"});
    document.body.append(frame, form);
    form.submit();
    setTimeout(done, 2000);
})"""
FETCH = """([url, method, mode]) => fetch(url, {method, mode, body: method === "GET" ? undefined : '{}'})
    .then(answer => answer.text()).catch(error => "refused")"""


def test_in_a_browser_another_site_writes_nothing_reads_nothing_and_frames_nothing(
    browser: Browser, manager: JobManager, redis_url: str, files_url: str, evil: str
) -> None:
    id = manager.launch("wait", {"num_iterations": 1})[0].id
    ports = {"server": free_port(), "dashboard": free_port()}
    with ExitStack() as stack:
        for name, port in ports.items():
            command = ["gunicorn", "--bind", f"127.0.0.1:{port}", f"{name}:create_app()"]
            stack.enter_context(process(command, REDIS_URL=redis_url, FILES_URL=files_url))
            wait_until(lambda port=port: answers(f"http://127.0.0.1:{port}/healthz"), 60)
        ours, other = (f"http://127.0.0.1:{port}" for port in ports.values())
        page = stack.enter_context(browser.new_context()).new_page()
        page.goto(evil)
        for url in (f"{ours}/launch/wait", f"{ours}/jobs/{id}/delete", f"{ours}/api/jobs/{id}/stop",
                    f"{other}/job/{id}/delete", f"{other}/queue/default/queued/empty"):  # fmt: skip
            page.evaluate(FORM, url)
            assert page.evaluate(FETCH, [url, "POST", "no-cors"]) in ("", "refused")
            assert page.evaluate(FETCH, [url, "POST", "cors"]) == "refused"
        assert page.evaluate(FETCH, [f"{ours}/api/jobs/{id}", "DELETE", "cors"]) == "refused"
        for url in (f"{ours}/api/jobs", f"{other}/0/data/queues.json"):
            assert page.evaluate(FETCH, [url, "GET", "cors"]) == "refused", "it cannot read"
            assert page.evaluate(FETCH, [url, "GET", "no-cors"]) == "", "an answer without a word"
        for url in (ours, other):
            page.evaluate(
                "url => document.body.append(Object.assign(document.createElement('iframe'), {src: url}))", url
            )
        wait_until(lambda: len(page.frames) >= 3)
        page.wait_for_load_state("networkidle")
        assert not [frame for frame in page.frames[1:] if "Launchpad" in frame.content() or "queue" in frame.content()]
    [job] = manager.page().jobs
    assert (job.id, job.state) == (id, "queued")
