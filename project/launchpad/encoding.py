"""Text that any page, any JSON and Redis can hold, and JSON that somebody else may have written."""

import json
from typing import Any


def replace_surrogates(text: str) -> str:
    """Return the text with each lone surrogate replaced by "?": it could not be encoded, as a file's name may not."""
    return text.encode(errors="replace").decode()


def parse_json_object(text: str | bytes) -> dict[str, Any]:
    """Return the JSON object in a text, or an empty dict where there is anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
