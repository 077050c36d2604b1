"""A job's description: its function and its arguments in one line, which lists show, and in which words are found."""

import json
from typing import Any

from launchpad.encoding import parse_json_object

MAX_TEXT_CHARACTERS = 200  # of a text among the arguments


def describe(function: str, arguments: dict[str, Any]) -> str:
    """Return a job's description, in which long texts are cut."""
    return f"{function} {json.dumps(shorten(arguments), ensure_ascii=False)}"


def read_description(description: str) -> tuple[str, dict[str, Any]]:
    """Return function and arguments; a job that somebody else put on the queue has its own kind of description."""
    function, _, text = description.partition(" ")
    return function, parse_json_object(text)


def shorten(value: Any) -> Any:
    """Return a JSON value in which long texts are cut."""
    match value:
        case str() if len(value) > MAX_TEXT_CHARACTERS:
            return value[:MAX_TEXT_CHARACTERS] + "…"
        case dict():
            return {key: shorten(item) for key, item in value.items()}
        case list():
            return [shorten(item) for item in value]
    return value
