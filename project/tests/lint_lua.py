"""Check the Lua scripts: syntax, names that nobody has declared, and whether the table at the head of each is right.

With luacheck where it is installed, which also finds what is unused or hidden; otherwise with a parser from PyPI.
Either sees what Redis gets: a script together with its libraries and constants.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from launchpad.queue import scripts  # noqa: E402
from lua_names import undeclared_names  # noqa: E402

# What a script may use: of Lua 5.1's standard library what Redis has, and what Redis adds.
GLOBALS = (
    *("assert", "coroutine", "error", "getmetatable", "ipairs", "load", "loadstring", "math", "next", "os", "pairs"),
    *("pcall", "rawequal", "rawget", "rawset", "select", "setmetatable", "string", "table", "tonumber", "tostring"),
    *("type", "unpack", "xpcall"),
    *("redis", "cjson", "KEYS", "ARGV"),
)
MAX_LINE_CHARACTERS = 120
UNUSED_VARIABLE = "211"  # luacheck's number: what a library declares is for others

Problem = tuple[int, str]  # line and message
Check = Callable[[str, bool], list[Problem]]  # of a text, which may be that of a library


def with_luacheck(text: str, is_library: bool) -> list[Problem]:
    """Return what luacheck finds in a text."""
    options = ["--no-config", "--no-color", "--formatter", "plain", "--filename", "text", "--std", "none"]
    ignored = ["--ignore", UNUSED_VARIABLE] if is_library else []
    command = ["luacheck", *options, "--read-globals", *GLOBALS, *ignored, "--", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode > 2:  # 1 are warnings, 2 errors in the text
        raise RuntimeError(done.stderr + done.stdout)
    found = re.findall(r"^text:(\d+):\d+: (.*)$", done.stdout, re.MULTILINE)
    return [(int(line), message) for line, message in found]


def with_parser(text: str, is_library: bool) -> list[Problem]:
    """Return what a parser finds in a text: less than luacheck, but errors and names that nobody has declared."""
    return undeclared_names(text, GLOBALS)


def default_check() -> Check:
    """Return the better one of those that are there."""
    return with_luacheck if which("luacheck") else with_parser


def problems_in(name: str, check: Check) -> list[Problem]:
    """Return what is wrong in a file; what is wrong in its libraries is told of those."""
    text, own = scripts.LuaScript(name).text, scripts.read(name)
    lines_before = text.count("\n") - own.count("\n")
    found = [(line - lines_before, message) for line, message in check(text, _is_library(own)) if line > lines_before]
    return sorted([*found, *_problems_in_lines(own), *((1, message) for message in head_problems(own))])


def _is_library(text: str) -> bool:
    return "\n-- library\n" in text


def _problems_in_lines(text: str) -> Iterator[Problem]:
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > MAX_LINE_CHARACTERS:
            yield number, f"line is longer than {MAX_LINE_CHARACTERS} characters"


def head_problems(text: str) -> Iterator[str]:
    """Tell where the head of a file and the rest differ: in constants, KEYS and ARGV, and if there is no answer."""
    body = text[len(head := re.match(r"(?:--[^\n]*\n)*", text)[0]) :]
    for line in re.findall(r"^-- constants: +(.*)$", head, re.MULTILINE):
        yield from (f"the constant {name} is not used" for name in line.split() if not re.search(rf"\b{name}\b", body))
    told = set(re.findall(r"^-- ((?:KEYS|ARGV)\[\d+(?:\.\.)?\]) +\S", head, re.MULTILINE))
    used = arguments_used(body)
    yield from (f"the head does not tell of {name}" for name in sorted(used - told))
    yield from (f"{name} is not used" for name in sorted(told - used))
    if not _is_library(text):
        kinds = {name[:4] for name in told} | set(re.findall(r"^-- (KEYS|ARGV) +none$", head, re.MULTILINE))
        yield from (f"the head does not say that it has no {kind}" for kind in ("KEYS", "ARGV") if kind not in kinds)
        if not re.search(r"^-- answer +\S", head, re.MULTILINE):
            yield "the head does not tell the answer"


def arguments_used(body: str) -> set[str]:
    """Return what a script uses of KEYS and ARGV: like ARGV[1], or ARGV[4..] for all from the fourth.

    All from one are used by `unpack(ARGV, 4)` or a loop, `for i = 4, #ARGV`. What is used otherwise is there as it is.
    """
    code = re.sub(r"--.*", "", body)
    used = set(re.findall(r"\b(?:KEYS|ARGV)\[\d+\]", code))
    for kind in ("KEYS", "ARGV"):
        loops = re.findall(rf"\bfor (\w+) = (\d+), #{kind}\b", code)
        starts = [start for _, start in loops] + re.findall(rf"\bunpack\({kind}, (\d+)\)", code)
        used |= {f"{kind}[{start}..]" for start in starts}
        variables = "|".join(variable for variable, _ in loops) or "-"
        understood = rf"unpack\({kind}, \d+\)|#{kind}\b(?!\[)|{kind}\[(?:\d+|(?:{variables})(?: \+ \d+)?)\]"
        used |= set(re.findall(rf"\b{kind}\b\S*", re.sub(understood, "", code)))
    return used


def main() -> int:
    """Print what is wrong in the scripts, and return how often."""
    check = default_check()
    found = 0
    for path in sorted(scripts.FOLDER.glob("*.lua")):
        for line, message in problems_in(path.stem, check):
            print(f"{path}:{line}: {message}")
            found += 1
    print(f"{check.__name__.replace('_', ' ').capitalize()}: {found or 'no'} problems in the Lua scripts")
    return min(found, 1)


if __name__ == "__main__":
    sys.exit(main())
