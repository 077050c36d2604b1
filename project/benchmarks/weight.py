"""Measures of the page in a real browser."""

import json
from typing import Any

from playwright.sync_api import Browser, sync_playwright
from stage import APP, OURS, Server, Stage, rounds
from table import Table

from helpers import find_chromium, start_chromium
from test_index import seed

# What happened before a script could look is told, too ("buffered").
WATCH = """
window.seen = { shift: 0, busy: 0 };
function watch(type, each) {
  new PerformanceObserver((list) => list.getEntries().forEach(each)).observe({ type, buffered: true });
}
watch("layout-shift", (entry) => { seen.shift += entry.value; });
watch("longtask", (entry) => { seen.busy = entry.startTime + entry.duration; });
"""
# Interactive is when the page is there, its script has run, and no task has kept the browser for 50 ms since.
TELL = """() => {
  const [page] = performance.getEntriesByType("navigation");
  const files = performance.getEntriesByType("resource").filter(({ initiatorType }) => initiatorType !== "fetch");
  const painted = performance.getEntriesByName("first-contentful-paint")[0].startTime;
  const ready = page.domContentLoadedEventEnd;
  return {
    requests: 1 + files.length,
    bytes: [page, ...files].reduce((sum, { transferSize }) => sum + transferSize, 0),
    "DOMContentLoaded, ms": ready,
    "first contentful paint, ms": painted,
    "interactive, ms": Math.max(painted, ready, seen.busy),
    "layout shift": seen.shift,
  };
}"""


def page(stage: Stage, table: Table) -> None:
    """The weight of the page and of a job's page, and when Chromium shows them."""
    if not find_chromium():
        return table.note("First load in Chromium", "", "left out: there is no browser")
    stage.redis.flushall()
    seed(stage.redis, 100)
    stage.fill(OURS, 1, "noop")
    with sync_playwright() as playwright, stage.server(OURS, folder=APP) as server:
        browser = start_chromium(playwright)
        id = json.loads(server.ask("/api/jobs"))["jobs"][0]["id"]
        looks = {path: lambda path=path: load(browser, server, path) for path in ("/", f"/jobs/{id}")}
        loads = rounds(max(stage.times, 2) + 2, looks)
    for path, name in (("/", "/"), (f"/jobs/{id}", "/jobs/<id>")):
        counted = loads[path][1:]  # the browser itself had to start
        rows = {what: [load[what] for load in counted] for what in counted[0]}
        table.add(f"First load of `{name}` in Chromium", rows, compared=False)
    return None


def load(browser: Browser, server: Server, path: str) -> Any:
    """Load a page with an empty cache, and tell how it went until a second after."""
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(WATCH)
    page.goto(server.url + path, wait_until="load")
    page.wait_for_timeout(1500)  # until the script has asked for the first time, which must move nothing
    told = page.evaluate(TELL)
    context.close()
    return told
