"""Everything below /tools, in a browser: behind a real nginx, with the lines that README.md shows, and without one."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect
from stage import Watch

from helpers import APP, answers, copy_project, free_port, process, wait_until
from readme import marked

NGINX = """
daemon off;
{user}
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        {locations}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, port: int, locations: str) -> Iterator[None]:
    """Run nginx with some locations; where it is missing the test is skipped, but in CI it fails."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if not program and not os.environ.get("CI"):
        pytest.skip("There is no nginx.")
    assert program, "There is no nginx."
    user = "user root;" if os.geteuid() == 0 else ""  # it would be nobody, who may not read the folders of root
    (folder / "nginx.conf").write_text(NGINX.format(user=user, port=port, locations=locations))
    with process([program, "-e", "stderr", "-p", str(folder), "-c", "nginx.conf"]):
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/tools/healthz"))
        yield


@contextmanager
def gunicorn(name: str, port: int, health: str, project: Path = APP, **environ: str) -> Iterator[None]:
    """Run the server or the dashboard."""
    with process(["gunicorn", "--bind", f"127.0.0.1:{port}", f"{name}:create_app()"], project, **environ):
        wait_until(lambda: answers(f"http://127.0.0.1:{port}{health}"))
        yield


class Way:
    """One way to be below /tools: who listens where, and what the server and nginx are told."""

    def __init__(self, folder: Path, redis_url: str, files_url: str):
        self.folder = folder
        self.server, self.dashboard, self.front = free_port(), free_port(), free_port()
        self.environ = {"REDIS_URL": redis_url, "FILES_URL": files_url}
        self.url = f"http://127.0.0.1:{self.front}"
        self.locations = marked("nginx").replace(":5000", f":{self.server}").replace(":5555", f":{self.dashboard}")
        assert str(self.server) in self.locations
        assert str(self.dashboard) in self.locations

    @contextmanager
    def header(self) -> Iterator[str]:
        """nginx takes the path off, and tells it in X-Forwarded-Prefix."""
        told = self.environ | {"TRUSTED_PROXIES": "1", "DASHBOARD_URL": f"{self.url}/rq/"}
        with ExitStack() as stack:
            stack.enter_context(gunicorn("server", self.server, "/healthz", **told))
            stack.enter_context(gunicorn("dashboard", self.dashboard, "/healthz", **told))
            stack.enter_context(nginx(self.folder, self.front, self.locations))
            yield self.url

    @contextmanager
    def script_name(self) -> Iterator[str]:
        """nginx passes the path on, and gunicorn takes it off; the dashboard is told it in the header, as above."""
        told = self.environ | {"TRUSTED_PROXIES": "1", "DASHBOARD_URL": f"{self.url}/rq/"}
        slash, tells = f":{self.server}/;", "    set $prefix /tools;\n"
        assert slash in self.locations
        assert tells in self.locations
        locations = self.locations.replace(slash, f":{self.server};").replace(tells, "")
        with ExitStack() as stack:
            stack.enter_context(gunicorn("server", self.server, "/tools/healthz", SCRIPT_NAME="/tools", **told))
            stack.enter_context(gunicorn("dashboard", self.dashboard, "/healthz", **told))
            stack.enter_context(nginx(self.folder, self.front, locations))
            yield self.url

    @contextmanager
    def url_prefix(self) -> Iterator[str]:
        """The owner's app has us below /tools, and there is no proxy."""
        project = copy_project(self.folder)
        text = (project / "server.py").read_text()
        (project / "server.py").write_text(
            text.replace('Launchpad(app, "jobs",', 'Launchpad(app, "jobs", url_prefix="/tools",')
        )
        told = self.environ | {"DASHBOARD_PORT": str(self.dashboard)}
        with ExitStack() as stack:
            stack.enter_context(gunicorn("server", self.server, "/healthz", project, **told))
            stack.enter_context(gunicorn("dashboard", self.dashboard, "/healthz", **told))
            yield f"http://127.0.0.1:{self.server}"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window; what no page may do fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(15_000)
    watch = Watch(page)
    yield page
    context.close()
    assert watch.complaints == []


WAYS = [
    pytest.param(Way.header, id="header"),
    pytest.param(Way.script_name, id="script_name", marks=pytest.mark.long),
    pytest.param(Way.url_prefix, id="url_prefix", marks=pytest.mark.long),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.usefixtures("worker")
def test_all_of_it_works_below_a_path(
    page: Page, tmp_path: Path, redis_url: str, files_url: str, way: Callable[[Way], AbstractContextManager[str]]
) -> None:
    asked: list[str] = []
    failed: list[str] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    with way(Way(tmp_path, redis_url, files_url)) as url:
        page.goto(f"{url}/tools/")
        launch_and_watch(page)
        launch_with_a_file_and_download(page, url)
        follow_the_links(page)
        assert [path for path in asked if not path.startswith("/tools/")] == []
        asked.clear()
        look_at_the_dashboard(page, url)
        if way is not Way.url_prefix:  # there it has a port of its own
            assert [path for path in asked if not path.startswith(("/tools/", "/rq/"))] == []
    assert failed == []


def launch_and_watch(page: Page) -> None:
    """Launch a job on the first page, see it finish without a reload, and open it."""
    page.evaluate("window.here = true")
    form = page.locator("form[data-function=wait]")
    form.get_by_label("Num iterations").fill("2")
    form.get_by_role("button", name="Launch").click()
    row = page.locator("#jobs > .job").first
    expect(row).to_have_attribute("data-state", "finished")
    assert page.evaluate("window.here"), "it was loaded anew"
    row.get_by_role("link", name="wait").first.click()
    expect(page.locator("h1")).to_contain_text("wait")


def launch_with_a_file_and_download(page: Page, url: str) -> None:
    """Launch a job with a file from the page of its function, see it finish there, and download the file it made."""
    page.goto(f"{url}/tools/launch/profile_csv")
    file = {"name": "people.csv", "mimeType": "text/csv", "buffer": b"name; born\nAda; 1815\n"}
    page.get_by_label("File", exact=True).set_input_files(file)  # type: ignore[arg-type]
    page.get_by_role("button", name="Launch").click()
    page.wait_for_url("**/tools/jobs/*")
    with page.expect_download() as download:
        page.get_by_role("link", name="people-cleaned.csv").click()
    assert Path(download.value.path()).read_text() == "name,born\nAda,1815\n"


def follow_the_links(page: Page) -> None:
    """Open the documentation of the API and its document, and go back to the list."""
    page.get_by_role("link", name="API", exact=True).click()
    expect(page.locator("body")).to_contain_text("/tools/api/jobs")
    with page.expect_response(re.compile("openapi.json")) as answer:
        page.evaluate("fetch(document.querySelector('a[href$=\"openapi.json\"]').href)")
    assert "/api/jobs" in answer.value.text()
    page.locator("a.brand").click()
    expect(page.locator("#jobs > .job")).to_have_count(2)


def look_at_the_dashboard(page: Page, url: str) -> None:
    """Follow the page's link to the dashboard, and open a job in it."""
    page.get_by_role("link", name="Monitor").click()
    page.wait_for_url(re.compile(r":\d+/(rq/)?$"))
    expect(page.locator("body")).to_contain_text("default")
    page.get_by_role("link", name="2", exact=True).first.click()
    page.locator(".job_id a").first.click()
    expect(page.locator("body")).to_contain_text("finished")
