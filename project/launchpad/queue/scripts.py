"""The Lua scripts in `lua/`, which Redis runs.

They are Lua because each reads and then writes what it has read about: Redis runs a script in one step, in which nobody
else changes anything, and in one round trip.

The head of each file says which libraries, other files of the folder, it `requires:`, and which `constants:` of those
below. Redis gets all that as one text: a line that makes the constants local variables, the libraries, the script.
"""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.commands.core import Script

from launchpad.queue.constants import CHANGES, FIELDS, MAX_ATTEMPTS, PREFIX, PROGRESS, QUEUE
from launchpad.queue.logs import KEY_PREFIX, MAX_BYTES, MAX_LINES
from launchpad.queue.states import ENDED, STATES

FOLDER = Path(__file__).with_name("lua")
CONSTANTS: dict[str, str | int | tuple[str, ...]] = {
    "CHANGES": CHANGES,
    "ENDED": ENDED,
    "FIELDS": FIELDS,
    "LOG_PREFIX": KEY_PREFIX,
    "MAX_ATTEMPTS": MAX_ATTEMPTS,
    "MAX_LOG_BYTES": MAX_BYTES,
    "MAX_LOG_LINES": MAX_LINES,
    "PREFIX": PREFIX,
    "PROGRESS": PROGRESS,
    "QUEUE": QUEUE,
    "STATES": STATES,
}


class LuaScript:
    """A script by the name of its file, and the text that Redis gets."""

    def __init__(self, name: str):
        files = files_of(name)
        constants = sorted({constant for file in files for constant in listed(file, "constants")})
        values = ", ".join(_literal(CONSTANTS[constant]) for constant in constants)
        self.text = f"local {', '.join(constants)} = {values}\n" if constants else "\n"
        self.text += "".join(_without_comments(read(file)) for file in files)
        self._script = Script(None, self.text.encode())  # type: ignore[arg-type] # each call says which client

    def __call__(self, client: Redis, keys: Sequence[str] = (), args: Sequence[Any] = ()) -> Any:
        """Run the script, or with a pipeline, put it there."""
        # A transaction cannot load a script, and a Redis that was restarted knows none: so the whole text goes there.
        if isinstance(client, Pipeline):
            return client.eval(self.text, len(keys), *keys, *args)
        return self._script(keys, args, client)


def files_of(name: str) -> list[str]:
    """Return the libraries that a file requires, each after those that it requires itself, and then the file."""
    files = [file for library in listed(name, "requires") for file in files_of(library)]
    return [*dict.fromkeys(files), name]


def listed(name: str, kind: str) -> list[str]:
    """Return what the head of a file lists as `requires` or `constants`."""
    line = re.search(rf"^-- {kind}: +(.*)$", read(name), re.MULTILINE)
    return line[1].split() if line else []


@cache
def read(name: str) -> str:
    """Return the text of a file."""
    return (FOLDER / f"{name}.lua").read_text()


def _without_comments(text: str) -> str:
    """Empty the lines that are comments; the numbers of the others stay."""
    return re.sub(r"^ *--.*$", "", text, flags=re.MULTILINE)


def _literal(value: str | int | tuple[str, ...]) -> str:
    """Write a value as Lua does; none of ours has a character that would have to be escaped."""
    if isinstance(value, tuple):
        return "{" + ", ".join(map(_literal, value)) + "}"
    return repr(value)
