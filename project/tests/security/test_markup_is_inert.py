"""Markup and script, wherever a job or its author may put text, in a real browser: shown, and never run."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, Page, Route
from playwright.sync_api import Error as PageError
from redis import Redis
from rq.job import JobStatus
from rq.results import Result

from helpers import WORKER, answers, free_port, functions_of, process, wait_until
from launchpad.queue.job import RUN, Job
from launchpad.queue.manager import JobManager
from launchpad.queue.states import STATES
from launchpad.storage import Store

ATTACK = (
    """"><img src=x onerror="window.attacked=1"><script>window.attacked=1</script><svg onload="window.attacked=1">'"""
)
JOBS = f"""
from typing import Annotated, Literal
from pydantic import Field
from launchpad.functions.catalog import job
from launchpad.functions.progress import progress
from launchpad.functions.results import File, Table

ATTACK = {ATTACK!r}

@job(title=ATTACK)
def hostile(
    text: Annotated[str, Field(description=ATTACK)] = ATTACK,
    choice: Literal[{ATTACK!r}, "fail"] = ATTACK,
) -> list:
    print(ATTACK)
    for _ in progress([1], desc=ATTACK, unit=ATTACK):
        pass
    if choice == "fail":
        raise ValueError(ATTACK)
    return [{{ATTACK: ATTACK}}, ATTACK, Table([{{ATTACK: ATTACK}}], ATTACK), File(ATTACK.encode(), ATTACK + ".html")]

hostile.job.__dict__["description"] = ATTACK
"""
SVG = b"""<svg xmlns="http://www.w3.org/2000/svg" onload="document.documentElement.setAttribute('id', 'ran')">
<script>document.documentElement.setAttribute('id', 'ran'); fetch('/api/jobs', {method: 'POST', headers:
{'Content-Type': 'application/json'}, body: '{"function": "hostile"}'})</script></svg>"""
HTML = b"<title>evil</title><script>document.title = 'ran'; fetch('/jobs/act', {method: 'POST'})</script>"


@pytest.fixture
def urls(redis_url: str, files_url: str, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The server, with a hostile function, and the dashboard; and a worker."""
    where = functions_of("nothing", tmp_path) | {"REDIS_URL": redis_url, "FILES_URL": files_url}
    (tmp_path / "jobs.py").write_text(JOBS)
    ports = free_port(), free_port()
    with ExitStack() as stack:
        stack.enter_context(process(WORKER, **where))
        for name, port in zip(("server", "dashboard"), ports, strict=True):
            command = f"gunicorn --bind 127.0.0.1:{port} {name}:create_app()"
            stack.enter_context(process(command.split(), **where))
        found = f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
        wait_until(lambda: answers(found[0] + "/healthz") and answers(found[1] + "/healthz"), 60)
        yield found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test where it runs what is not ours, asks another host, or breaks its policy."""
    page = browser.new_page()
    page.set_default_timeout(30_000)
    complaints: list[str] = []
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if "Policy" in message.text else None)
    page.on("request", lambda request: complaints.append(request.url) if "127.0.0.1" not in request.url else None)
    yield page
    page.close()
    assert complaints == []


def launch(url: str, **arguments: str) -> str:
    body = json.dumps({"function": "hostile", "arguments": arguments}).encode()
    with urlopen(Request(f"{url}/api/jobs", body, {"Content-Type": "application/json"})) as answer:
        return str(json.load(answer)["id"])


def look(page: Page, url: str, expected: str) -> None:
    """Open an address, wait until it shows a text, and see that nothing of it became an element or ran."""
    answer = page.goto(url)
    assert answer is not None
    assert answer.status < 500, url
    page.wait_for_function("text => document.body.innerText.includes(text)", arg=expected)
    assert page.evaluate("window.attacked ?? null") is None
    assert page.locator("img[src=x], [onerror], [onload]").count() == 0, url


@pytest.mark.long
def test_hostile_functions_arguments_results_logs_and_errors_are_shown_as_text(
    page: Page, urls: tuple[str, str], manager: JobManager
) -> None:
    server, dashboard = urls
    done, failed = launch(server), launch(server, choice="fail")
    wait_until(lambda: [manager.get(id).state for id in (done, failed)] == ["finished", "failed"], 60)
    assert ATTACK in [line.text for line in manager.log(done, 0).lines]
    for path in ("/", "/launch/hostile", f"/launch/hostile?text={quote(ATTACK)}", f"/jobs/{done}", f"/jobs/{failed}",
                 f"/?q={quote(ATTACK)}", "/?function=hostile", "/fragments/jobs", f"/fragments/jobs/{done}",
                 f"/fragments/jobs/{failed}", f"/launch/{quote(ATTACK, safe='')}"):  # fmt: skip
        look(page, server + path, "<script>window.attacked=1" if "launch" not in path else "Launchpad")
    for path in (f"/0/view/job/{done}", f"/0/view/job/{failed}", "/0/view/jobs/default/finished/8/asc/1"):
        look(page, dashboard + path, "window.attacked=1")


def test_a_file_of_a_job_runs_nothing_in_our_origin(
    page: Page, urls: tuple[str, str], manager: JobManager, files_url: str
) -> None:
    server, _ = urls
    id = launch(server)
    wait_until(lambda: manager.get(id).state == "finished", 60)
    for name, data in (
        ("evil.svg", SVG),
        ("evil.html", HTML),
        ("evil.xhtml", HTML),
        ("evil.pdf", HTML),
        ("evil", HTML),
    ):
        with Store(files_url).open(f"{id}/out/{name}", "wb") as file:
            file.write(data)
    folder = f"{server}/api/jobs/{id}/files"
    for name in ("evil.html", "evil.xhtml", "evil"):
        with pytest.raises(PageError, match="Download is starting"):
            page.goto(f"{folder}/{name}")
    other = page.context.browser.new_page()  # type: ignore[union-attr]
    other.goto(f"{folder}/evil.svg")
    assert other.locator("svg").get_attribute("id") is None, "its script has run"
    assert other.evaluate("self.origin") == "null"
    assert manager.page().total == 1

    def without_policy(route: Route) -> None:
        headers = {k: v for k, v in route.fetch().headers.items() if k != "content-security-policy"}
        route.fulfill(response=route.fetch(), headers=headers)

    other.route("**/evil.svg", without_policy)
    other.goto(f"{folder}/evil.svg")
    assert other.locator("svg").get_attribute("id") == "ran", "it would run if it were served as it is"
    wait_until(lambda: manager.page().total == 2)
    other.close()


ODD: list[Any] = [
    None,
    "",
    0,
    [],
    {},
    ATTACK,
    [[[ATTACK]]],
    {"type": "json"},
    {"type": []},
    "x" * 100_000,
    float("nan"),
]


@pytest.mark.long
def test_no_page_of_the_dashboard_is_blank_whatever_a_job_is(
    page: Page, urls: tuple[str, str], manager: JobManager, redis: Redis
) -> None:
    _, dashboard = urls
    jobs = [Job.fetch(id, redis) for id in [launch(urls[0]) for _ in range(2)]]
    wait_until(lambda: manager.page().counts["finished"] == 2, 60)
    for state in STATES:
        job = Job.create(RUN, args=["jobs", "hostile", {}], connection=redis, origin="default",
                         depends_on=[jobs[0].id, "gone"], description=ATTACK, meta={"note": ATTACK})  # fmt: skip
        job.save()
        job.set_status(JobStatus(state))
        jobs.append(job)
    for value in ODD:
        job = Job.create("launchpad.worker.runner.run", connection=redis, origin="default", description=f"odd {ATTACK}")
        job.save()
        job.set_status(JobStatus.FINISHED)
        Result.create(job, Result.Type.SUCCESSFUL, 600, return_value=value)
        jobs.append(job)
    for job in jobs:
        look(page, f"{dashboard}/0/view/job/{job.id}", str(job.get_status().value))
