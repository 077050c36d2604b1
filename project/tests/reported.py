"""A plugin of pytest: a run in which a test was collected and not reported fails, and names it.

pytest-xdist, where it runs tests in groups, keeps one of those that have the same node id, and does not say so.
"""

from collections import Counter
from collections.abc import Sequence

import pytest

COMPLETE = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)


class Reported:
    """Compares the tests that were collected with those that somebody told the result of."""

    def __init__(self) -> None:
        self._collected: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        self._missing: list[str] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note the tests, where they run in this process."""
        self._collected.update(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Note the tests, which each process of pytest-xdist has collected, all the same ones."""
        self._collected |= Counter(ids)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note that a test has begun, or that its process has crashed."""
        self._reported[report.nodeid] += report.when not in ("call", "teardown")

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Fail a run to its end of which something is missing; one that was broken off says so itself."""
        is_broken_off = session.shouldfail or session.shouldstop or session.config.option.collectonly
        if exitstatus not in COMPLETE or is_broken_off:
            return
        self._missing = sorted((self._collected - self._reported).elements())
        if self._missing:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name what is missing."""
        if self._missing:
            title = f"{len(self._missing)} tests were collected and have not been reported"
            terminalreporter.section(title, sep="=", red=True, bold=True)
            for test in self._missing:
                terminalreporter.line(test, red=True)
