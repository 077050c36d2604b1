"""Text that any page, any JSON and Redis can hold, and JSON that somebody else may have written."""

import json
import re
from typing import Any

MAX_DEPTH = 200  # lists and objects within each other; pydantic writes some more
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)  # one for each text would take as long as the text
_SURROGATE = re.compile(r"\\u[dD]")  # the half of a pair, or one that is alone


def replace_surrogates(text: str) -> str:
    """Return the text with each lone surrogate replaced by "?": it could not be encoded, as a file's name may not."""
    return text.encode(errors="replace").decode()


def parse_json(text: str | bytes) -> Any:
    """Return the value that a JSON text holds, so that it can be written again, whoever wrote it.

    Lone surrogates become "?", NaN becomes None, and what lies deeper than MAX_DEPTH becomes "…".

    Raises:
        ValueError: it is not JSON.
    """
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _SURROGATE.search(text) or text.count("[") + text.count("{") > MAX_DEPTH:
        return _make_plain(value, MAX_DEPTH)
    return value


def parse_json_object(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object in a text, or an empty dict where there is anything else."""
    try:
        found = parse_json(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _make_plain(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return replace_surrogates(value)
    if isinstance(value, list | dict) and not depth:
        return "…"
    if isinstance(value, list):
        return [_make_plain(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {replace_surrogates(key): _make_plain(item, depth - 1) for key, item in value.items()}
    return value
