"""Files in, and the page of a job with its log and its results, in a real browser with a real worker."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect
from stage import HOSTILE, OpenPage, server
from vega_datasets import local_data

from helpers import WORKER, copy_project, free_port, process, wait_until
from launchpad.queue.manager import JobManager

AIRPORTS = Path(local_data.airports.filepath)
MB = 1024 * 1024

# What shows each kind of log and result; `talk` goes on when somebody says so.
JOBS = '''

import logging, os, pathlib, subprocess, sys, time, warnings

HOSTILE = %r


@job(timeout=60)
def talk(go_on: str) -> str:
    """Print, log and warn; wait for a file; and then print more, or be killed."""
    print("printed")
    print(HOSTILE)
    logging.getLogger("shop").setLevel(logging.DEBUG)
    logging.getLogger("shop").debug("a detail")
    logging.warning("beware")
    logging.error("that was wrong")
    subprocess.run([sys.executable, "-c", "print('from a child')"])
    while not (pathlib.Path(go_on).exists() and pathlib.Path(go_on).read_text()):
        time.sleep(0.05)
    if pathlib.Path(go_on).read_text() == "die":
        print("my last words")
        os.kill(os.getpid(), 9)
    for number in progress(range(100)):
        print("line", number)
    return "x" * 2_000_000


@job(timeout=60)
def chatter() -> None:
    """Print a million lines."""
    for number in range(1_000_000):
        print("line", number)


@job(timeout=60)
def tidy() -> None:
    """Work, and clean up for long."""
    try:
        for _ in progress(range(600)):
            time.sleep(0.1)
    finally:
        time.sleep(600)


@job(timeout=60)
def show() -> dict:
    """Return a bit of everything."""
    return {
        "Table": [
            {"name": f"row {n:02}", "value": n %% 7 + 0.5 if n %% 10 else None, HOSTILE: HOSTILE} for n in range(60)
        ],
        "Rows": Table([[n] for n in range(1500)], columns=["n"]),
        "Drawing": Image(b"<svg xmlns='http://www.w3.org/2000/svg' width='30'><script>alert(1)</script></svg>"),
        "File": File(HOSTILE.encode(), HOSTILE),
        "Text": HOSTILE,
        "JSON": {"a": [1, 2], "gap": float("nan")},
    }
'''


@pytest.fixture
def shop(redis_url: str, files_url: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a server with the functions above, and a worker for them."""
    project = copy_project(tmp_path, JOBS % HOSTILE)
    with (
        server(free_port(), redis_url, project, FILES_URL=files_url) as url,
        process(WORKER, project, REDIS_URL=redis_url, FILES_URL=files_url, STOP_SECONDS="60"),
    ):
        yield url


def expect_state(page: Page, state: str) -> None:
    expect(page.locator("#job")).to_have_attribute("data-state", state, timeout=30_000)


def launch(page: Page, function: str) -> None:
    page.locator(f"form[data-function={function}]").get_by_role("button", name="Launch").click()


def panel(page: Page, title: str) -> Locator:
    return page.locator("section.result", has=page.get_by_role("heading", name=title, exact=True))


def cells(table: Locator) -> list[list[str]]:
    found: list[list[str]] = table.locator("tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
    )
    return found


# -- files in


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("path", ["/", "/launch/profile_csv"])
def test_a_file_is_uploaded_with_a_bar_and_its_profile_shown(
    open_page: OpenPage, manager: JobManager, path: str, tmp_path: Path
) -> None:
    big = tmp_path / "airports.csv"
    big.write_bytes(AIRPORTS.read_bytes() * 10)
    page = open_page(path)
    if path == "/":
        page.get_by_text("Profile CSV").click()
    page.locator("input[type=file]").set_input_files(big)
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": MB}
    session.send("Network.emulateNetworkConditions", slow)
    launch(page, "profile_csv")
    bar = page.get_by_role("progressbar", name="Upload")
    page.wait_for_function("bar => bar.value > 0 && bar.value < 1", arg=bar.element_handle())
    expect(page.locator("form[data-function=profile_csv] .sent")).to_have_text(
        re.compile(r"Uploading: \d.\d of 2.1 MB")
    )
    if path == "/":
        expect(page.locator("#jobs .arguments")).to_have_text('file="airports.csv"')
        page.goto("/")  # the server says the same
        expect(page.locator("#jobs .arguments")).to_have_text('file="airports.csv"')
        page.locator("#jobs").get_by_role("link", name="profile_csv").click()
    expect_state(page, "finished")
    expect(bar).to_have_count(0)
    profile = {row[0]: row[1:] for row in cells(panel(page, "Columns"))}
    assert profile["iata"][0] == "text"
    assert len(manager.page().jobs) == 1
    with page.expect_download() as download:
        panel(page, "Cleaned").get_by_role("link").click()
    assert download.value.suggested_filename == "airports-cleaned.csv"
    with open(download.value.path(), encoding="utf-8", newline="") as cleaned:
        assert len([*csv.reader(cleaned)]) == 10 * 3377
    expect(page.locator("#log .lines")).to_contain_text("airports.csv, 2,")


@pytest.mark.usefixtures("worker")
def test_a_file_is_uploaded_and_its_results_are_there_without_javascript(open_page: OpenPage) -> None:
    page = open_page("/launch/profile_csv", java_script_enabled=False)
    page.locator("input[type=file]").set_input_files(AIRPORTS)
    launch(page, "profile_csv")
    wait_until(lambda: page.reload() and page.locator("#job[data-state=finished]").count())
    assert [row[0] for row in cells(panel(page, "Columns"))][:2] == ["iata", "name"]
    with page.expect_download() as download:
        page.locator("#log").get_by_role("link", name="Download").click()
    text = download.value.path().read_text()
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]{12}Z info     airports.csv, \d", text)
    page.get_by_role("button", name="Run again").click()
    expect(page.locator("dd").first).to_have_text('"airports.csv"')
    page.get_by_role("link", name="Edit and run again").click()
    expect(page.get_by_text("It was airports.csv: choose it again.")).to_be_visible()


@pytest.mark.usefixtures("worker")
def test_what_runs_again_has_a_file_of_its_own(open_page: OpenPage, manager: JobManager) -> None:
    page = open_page("/launch/profile_csv")
    page.locator("input[type=file]").set_input_files(AIRPORTS)
    launch(page, "profile_csv")
    page.wait_for_url("**/jobs/*")
    first = page.url.rpartition("/")[2]
    page.get_by_role("button", name="Run again").dblclick()
    page.wait_for_url(re.compile(f"/jobs/(?!{first})"))
    manager.delete(first)
    expect_state(page, "finished")
    expect(panel(page, "Columns")).to_be_visible()
    assert manager.page().total == 1


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(open_page: OpenPage, tmp_path: Path) -> None:
    large = tmp_path / "large.csv"
    large.write_bytes(b"x" * 6 * MB)
    page = open_page("/launch/profile_csv")
    page.locator("input[type=file]").set_input_files(large)
    launch(page, "profile_csv")
    expect(page.locator("#profile_csv-file-error")).to_have_text("Too large: 6.3 of 5.2 MB.")
    page.locator("input[type=file]").set_input_files(AIRPORTS)
    expect(page.locator("#profile_csv-file-error")).to_be_empty()
    launch(page, "profile_csv")
    page.wait_for_url("**/jobs/*")


def test_an_upload_that_breaks_off_says_so_and_can_be_sent_again(open_page: OpenPage, manager: JobManager) -> None:
    page = open_page("/launch/profile_csv")
    page.locator("input[type=file]").set_input_files(AIRPORTS)
    page.route("**/api/jobs", lambda route: route.abort())
    launch(page, "profile_csv")
    expect(page.locator(".answer")).to_have_text("The server cannot be reached.")
    expect(page.get_by_role("progressbar", name="Upload")).to_be_hidden()
    page.unroute("**/api/jobs")
    launch(page, "profile_csv")
    page.wait_for_url("**/jobs/*")
    assert manager.page().total == 1


# -- the log


def test_a_log_is_followed_filtered_paused_and_downloaded(open_page: OpenPage, shop: str, tmp_path: Path) -> None:
    page, go_on = open_page("/launch/talk", base_url=shop), tmp_path / "go-on"
    page.get_by_label("Go on").fill(str(go_on))
    launch(page, "talk")
    lines = page.locator("#log .lines p")
    said = ["printed", HOSTILE, "a detail", "beware", "that was wrong", "from a child"]
    expect(lines).to_contain_text(said)
    expect(lines.filter(has_text="beware")).to_have_class("warning")
    page.get_by_label("Least level").select_option("warning")
    expect(lines.filter(visible=True)).to_contain_text(said[3:5])
    page.get_by_label("Least level").select_option("debug")
    expect(lines.filter(visible=True)).to_have_count(len(said))
    page.get_by_role("button", name="Pause").click()
    go_on.write_text("on")
    expect_state(page, "finished")
    expect(lines).to_have_count(len(said))
    page.get_by_role("button", name="Go on").click()
    expect(lines).to_have_count(len(said) + 100)
    bottom = "box => box.scrollHeight - box.scrollTop - box.clientHeight < 2"
    assert page.locator("#log .lines").evaluate(bottom)
    with page.expect_download() as download:
        page.locator("#log").get_by_role("link", name="Download").click()
    text = download.value.path().read_text().splitlines()
    assert text[3].endswith("Z warning  beware")
    assert text[-1].endswith("Z info     line 99")
    expect(page.locator("section.result")).to_contain_text("This is the beginning.")
    with page.expect_download() as download:
        page.get_by_role("link", name="All of it").click()
    assert download.value.path().stat().st_size == 2_000_000


@pytest.mark.long
def test_the_log_of_a_killed_job_holds_its_last_line(open_page: OpenPage, shop: str, tmp_path: Path) -> None:
    page, go_on = open_page("/launch/talk", base_url=shop), tmp_path / "go-on"
    page.get_by_label("Go on").fill(str(go_on))
    launch(page, "talk")
    expect(page.locator("#log .lines")).to_contain_text("from a child")
    go_on.write_text("die")
    expect_state(page, "failed")
    expect(page.locator("#log .lines p").last).to_contain_text("my last words")


@pytest.mark.parametrize("javascript", [True, False])
@pytest.mark.parametrize("place", ["its page", pytest.param("the list", marks=pytest.mark.long)])
def test_a_job_that_cleans_up_says_so_and_can_be_killed(
    open_page: OpenPage, shop: str, manager: JobManager, javascript: bool, place: str
) -> None:
    page = open_page("/launch/tidy", base_url=shop, java_script_enabled=javascript)
    launch(page, "tidy")
    wait_until(lambda: manager.page().jobs[0].progress)
    page.reload()
    others = open_page(base_url=shop)
    expect(page.locator("#facts")).not_to_contain_text("Used")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#job .status")).to_have_text("started · stopping")
    expect(others.locator(".job .status")).to_have_text("started · stopping")
    expect(others.locator("#news")).to_have_text("tidy stopping")
    if place == "its page":
        page.get_by_role("button", name="Kill now").click()
    else:
        page.goto("/")
        page.get_by_label("Select tidy").check()
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.get_by_text("those that are stopping already are killed now")).to_be_visible()
        page.get_by_role("button", name="Stop 1 job").click()
        expect(page.locator(".job .state")).to_have_text("stopped")
        page.get_by_role("link", name="tidy").click()
    expect_state(page, "stopped")
    expect(page.locator("#outcome .cause")).to_have_text("It was stopped.")
    expect(page.locator("#outcome h2")).to_have_text("Stopped")
    expect(page.locator("#facts")).to_contain_text(
        re.compile(r"Used\s*\S+\ss of processor time, \d+\.\d\sMB of memory")
    )


def test_what_a_job_used_is_on_its_page_if_it_is_known(open_page: OpenPage, all_states: dict[str, str]) -> None:
    page = open_page(f"/jobs/{all_states['finished']}", viewport={"width": 360, "height": 800})
    used = page.locator("#facts dt", has_text="Used")
    expect(used.locator("+ dd")).to_have_text("0.019 s of processor time, 49.3 MB of memory")
    page.goto(f"/jobs/{all_states['failed']}")
    expect(page.locator("#facts dt")).not_to_have_count(0)
    expect(used).to_have_count(0)


@pytest.mark.long
def test_a_million_lines_do_not_choke_the_page(open_page: OpenPage, shop: str) -> None:
    page = open_page("/launch/chatter", base_url=shop)
    launch(page, "chatter")
    expect(page.locator("#log .lines p").last).to_contain_text("line 999999", timeout=60_000)
    expect_state(page, "finished")
    expect(page.locator("#log .help")).to_have_text("The newest of 1,000,000 lines.")
    assert page.locator("#log .lines p").count() <= 10_000
    page.get_by_role("button", name="Delete").click()  # it still listens
    page.wait_for_url(re.compile(r"/$|/\?"))


# -- results


@pytest.mark.long
def test_each_kind_of_result_is_shown(open_page: OpenPage, shop: str) -> None:
    page, other = open_page("/launch/show", base_url=shop), open_page(base_url=shop)
    launch(page, "show")
    expect_state(page, "finished")
    expect(panel(page, "Text").locator("pre")).to_have_text(HOSTILE)
    expect(panel(page, "JSON").locator("pre")).to_have_text('{"a": [1, 2], "gap": null}')
    picture = panel(page, "Drawing").locator("img")
    page.wait_for_function("img => img.complete && img.naturalWidth == 30", arg=picture.element_handle())
    with page.expect_download() as download:
        panel(page, "File").get_by_role("link").click()
    assert download.value.path().read_text() == HOSTILE
    expect(panel(page, "Rows")).to_contain_text("The first 1,000 of 1,500 rows.")
    with page.expect_download() as download:
        panel(page, "Rows").get_by_role("link", name="CSV").click()
    assert len(download.value.path().read_text().splitlines()) == 1501
    page.goto(shop)
    for window in (page, other):
        expect(window.locator("#jobs .outcome")).to_have_text("A table of 60 rows and 5 more")


@pytest.mark.long
def test_a_table_is_sorted_and_turned_over(open_page: OpenPage, shop: str, tmp_path: Path) -> None:
    page = open_page("/launch/show", base_url=shop)
    launch(page, "show")
    expect_state(page, "finished")
    table = panel(page, "Table")
    names = [f"row {n:02}" for n in range(60)]
    assert [row[0] for row in cells(table)] == names[:25]
    assert cells(table)[0][1:] == ["", HOSTILE]
    expect(table.locator(".pages")).to_have_text(re.compile("1.25"))
    for first, last in ((26, 50), (51, 60)):
        table.get_by_role("button", name="Later rows").click()
        expect(table.locator(".pages")).to_have_text(re.compile(f"{first}.{last}"))
        assert [row[0] for row in cells(table)] == names[first - 1 : last]
    expect(table.get_by_role("button", name="Later rows")).to_be_disabled()
    head = table.get_by_role("columnheader", name="value")
    for order, least in (("ascending", "0.5"), ("descending", "6.5")):
        head.get_by_role("button").click()
        expect(head).to_have_attribute("aria-sort", order)
        assert cells(table)[0][1] == least
        for _ in range(2):
            table.get_by_role("button", name="Later rows").click()
        assert [row[1] for row in cells(table)][-6:] == [""] * 6  # gaps are last either way
    kept = cells(table)
    job = {"function": "talk", "arguments": {"go_on": str(tmp_path / "go-on")}}
    page.request.post("/api/jobs", data=job)
    expect(page.locator("#workers")).to_have_text("1 worker, 1 busy")  # so the page was brought up to date
    assert cells(table) == kept
    table.get_by_role("button", name="name").click()
    assert [row[0] for row in cells(table)] == names[:25]
    (tmp_path / "go-on").touch()  # a worker that is to stop waits six seconds for a job


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
def test_pages_with_results_are_accessible_and_fit(open_page: OpenPage, shop: str, scheme: str, tmp_path: Path) -> None:
    page, go_on = open_page("/launch/show", base_url=shop, color_scheme=scheme), tmp_path / "go-on"
    launch(page, "show")
    expect_state(page, "finished")
    done = page.url
    page.goto("/launch/talk")
    page.get_by_label("Go on").fill(str(go_on))
    launch(page, "talk")
    expect(page.locator("#log .lines")).to_contain_text("from a child")
    for path in (page.url, done, "/launch/profile_csv"):
        page.goto(path)
        for width in (360, 768, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            result = Axe().run(page)
            assert result.violations_count == 0, f"{path}: {result.generate_report()}"
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path, width)
    go_on.touch()  # a worker that is to stop waits six seconds for a job
