"""The bench: it measures, and prints the table that its README shows."""

import subprocess
import sys

from helpers import PROJECT

BENCH = PROJECT / "benchmarks"


def test_the_bench_prints_the_table_of_its_readme() -> None:
    command = [sys.executable, BENCH / "bench.py", "--rounds", "1", "--size", "0.01", "trips", "bar"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    shown = (BENCH / "README.md").read_text().partition("<!-- begin -->\n")[2].splitlines()
    rows = [line.split("|")[:3] for line in printed.splitlines() if line.startswith("|")]
    assert len(rows) > 10
    for row in rows:
        assert row in [line.split("|")[:3] for line in shown], row


def test_the_settings_of_gunicorn_need_no_package_of_ours_for_the_peers_who_have_none() -> None:
    start = """
import runpy, sys, types
settings = runpy.run_path(sys.argv[1])
settings["post_worker_init"](types.SimpleNamespace(wsgi=types.SimpleNamespace(extensions={})))
"""
    # -I and -S: neither our folder nor the packages of this environment are on the path.
    subprocess.run([sys.executable, "-I", "-S", "-c", start, PROJECT / "gunicorn.conf.py"], check=True)
