"""What README.md and RECIPES.md hold: their blocks, their tables and their commands."""

import re
from dataclasses import dataclass

import pytest

from helpers import PROJECT

ROOT = PROJECT.parent
README = (ROOT / "README.md").read_text()
RECIPES = (ROOT / "RECIPES.md").read_text() if (ROOT / "RECIPES.md").exists() else ""
FAULTS = ROOT / "project/tests/faults/README.md"
SECURITY = ROOT / "project/tests/security/README.md"

if "<!-- example -->" not in README or "<!-- nginx -->" not in RECIPES:
    pytest.skip("README.md and RECIPES.md are others now: they are not tested", allow_module_level=True)


@dataclass(frozen=True)
class Block:
    """A fenced block; its mark is the comment above it, which a reader does not see."""

    mark: str
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command of a block; its note is the comment behind it."""

    text: str
    note: str


_BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^\n]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
BLOCKS = [Block(**found.groupdict(default="")) for found in _BLOCK.finditer(README)]
RECIPE_BLOCKS = [Block(**found.groupdict(default="")) for found in _BLOCK.finditer(RECIPES)]
PROSE, RECIPE_PROSE = _BLOCK.sub("", README), _BLOCK.sub("", RECIPES)
INLINE = re.findall(r"`([^`\n]+)`", PROSE)


def marked(mark: str) -> str:
    """The one block with this mark, in README.md or in RECIPES.md."""
    [text] = [block.text for block in BLOCKS + RECIPE_BLOCKS if block.mark == mark]
    return text


def table(mark: str) -> list[list[str]]:
    """The cells of the table with this mark, row by row, without its head."""
    [(_, rows)] = re.findall(rf"^<!-- {re.escape(mark)} -->\n(.*\n){{2}}((?:\|.*\n)+)", README, re.M)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows.splitlines()]


def code(cell: str) -> list[str]:
    """What a cell shows as code."""
    return [text.replace("\\|", "|") for text in re.findall(r"`([^`]+)`", cell)]


def commands(program: str = "") -> list[Command]:
    """The commands of all unmarked blocks of shell, in their order; of this program, if one is named."""
    lines = "".join(block.text for block in BLOCKS if block.language == "sh" and not block.mark)
    parts = [line.partition("  # ") for line in lines.replace("\\\n", "").splitlines()]
    found = [Command(text.strip(), note) for text, _, note in parts if text and not text.startswith("#")]
    return [command for command in found if command.text.split()[0] == program or not program]


def named_tests(page: str) -> set[str]:
    """The tests that a page names."""
    return set(re.findall(r"`(test_\w+)`", page))
