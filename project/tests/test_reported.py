"""No test is lost on the way: what was collected is reported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import PROJECT

SUITE = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_one_of_three(number):
    pass

def test_another():
    pass
"""
TWINS = """
def pytest_collection_modifyitems(items):
    items[1:3] = items[:1] * 2  # three with one node id
"""
PLUGIN = """
from reported import Reported

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Reported())
"""
IN_GROUPS = ("-n", "2", "--dist", "loadgroup")


def run(folder: Path, conftest: str, *options: str) -> tuple[int, str]:
    """Run the suite, and tell how it ended and what it said."""
    (folder / "test_toy.py").write_text(SUITE)
    (folder / "conftest.py").write_text(f"import sys\nsys.path.append({str(PROJECT / 'tests')!r})\n{conftest}")
    command = [sys.executable, "-m", "pytest", "-p", "xdist.plugin", "-p", "no:cacheprovider", *options]
    environ = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # they would take seconds
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


def test_a_run_that_loses_tests_fails_and_names_them(tmp_path: Path) -> None:
    status, said = run(tmp_path, TWINS + PLUGIN, *IN_GROUPS)
    assert status == 1
    assert "2 tests were collected and have not been reported" in said
    assert said.splitlines().count("test_toy.py::test_one_of_three[0]") == 2


def test_without_the_plugin_nobody_would_notice(tmp_path: Path) -> None:
    status, said = run(tmp_path, TWINS, *IN_GROUPS)
    assert (status, "2 passed" in said) == (0, True)


@pytest.mark.parametrize("options", [(), IN_GROUPS, ("-k", "another"), ("--collect-only",), ("-x", *IN_GROUPS)])
def test_a_run_that_loses_none_ends_well(tmp_path: Path, options: tuple[str, ...]) -> None:
    status, said = run(tmp_path, PLUGIN, *options)
    assert (status, "reported" in said) == (0, False), said


def test_a_run_that_was_broken_off_says_no_more_than_that(tmp_path: Path) -> None:
    broken = PLUGIN + "\ndef pytest_runtest_call(item):\n    assert 0\n"
    status, said = run(tmp_path, broken, "-x")
    assert (status, "reported" in said) == (1, False), said
