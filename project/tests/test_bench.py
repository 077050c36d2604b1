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
