"""The rooms of the engine: imports go down only, nothing of it imports what is somebody's, and no file is too long."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import PROJECT

ENGINE = PROJECT / "launchpad"
FILES = sorted(ENGINE.rglob("*.py"))
MAX_LINES = 310

# From the bottom up: a room may import those of the levels below its own, and itself.
LEVELS = (
    ("settings", "storage", "encoding", "upstream"),
    ("functions",),
    ("queue",),
    ("web", "worker"),
    ("cli", "monitor", "extension", "__init__"),
)
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
# The modules of somebody's project, which the engine knows by the name that the settings give.
YOURS = {path.stem for path in PROJECT.glob("*.py")}


def room_of(path: Path) -> str:
    return path.relative_to(ENGINE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """The full names of the modules that a file imports, wherever in it that is."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            module = str(node.module)
            # `from launchpad.web import api` is an import of a module, too.
            yield from (f"{module}.{name.name}" for name in node.names)


def test_every_room_has_its_level() -> None:
    assert {room_of(path) for path in FILES} - LEVEL.keys() == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ENGINE)))
def test_imports_go_down_only(path: Path) -> None:
    here = room_of(path)
    for name in imports(path):
        if name.startswith("launchpad."):
            there = name.split(".")[1]
            there = there if there in LEVEL else "__init__"  # `from launchpad import job`: for authors
            assert there == here or LEVEL[there] < LEVEL[here] or LEVEL[here] == len(LEVELS) - 1, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ENGINE)))
def test_nothing_imports_what_is_yours(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & YOURS


def test_functions_know_neither_flask_nor_rq() -> None:
    for path in (path for path in FILES if LEVEL[room_of(path)] <= LEVEL["functions"]):
        assert not {name.split(".")[0] for name in imports(path)} & {"flask", "rq", "rq_dashboard", "werkzeug"}, path


def test_web_knows_nothing_of_rq() -> None:
    for path in (path for path in FILES if room_of(path) == "web"):
        assert "rq" not in {name.split(".")[0] for name in imports(path)}, path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ENGINE)))
def test_a_file_is_read_at_one_go(path: Path) -> None:
    lines = path.read_text().count("\n")
    assert lines <= MAX_LINES
