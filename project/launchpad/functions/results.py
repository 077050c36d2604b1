"""Results: what a function may return beside JSON, and how it becomes the JSON of the contract, and files."""

import csv
import io
import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from launchpad.encoding import replace_surrogates
from launchpad.functions.files import File, copy

MAX_RESULT_BYTES = 1024 * 1024  # that a result takes in Redis, which has it in memory; more goes to the file store
PREVIEW_BYTES = 10_000  # of what is too large
MAX_ROWS, MAX_COLUMNS = 1000, 500  # of a table; all of them are in its CSV file
SIGNS = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg"}  # how pictures begin
IMAGES = ("image/png", "image/jpeg", "image/svg+xml")
ADVICE = "Return JSON (text, numbers, lists, dicts), or a Table, an Image or a File; or some of them in a list or dict."


class Image(File):
    """A picture to look at, PNG, JPEG or SVG: of a path, of bytes, of an open file, or of a figure of matplotlib."""

    def describe(self, room: int) -> dict[str, Any]:
        """Describe it as the contract does.

        Raises:
            TypeError: it is not a picture.
        """
        out = io.BytesIO()
        if _is_a(self.source, "Figure", "matplotlib"):
            self.source.savefig(out, format="png")
        else:
            copy(self.source, out)
        data = self.source = out.getvalue()
        suffix = next((suffix for sign, suffix in SIGNS.items() if data.startswith(sign)), "")
        if not suffix and b"<svg" not in data[:10_000]:
            raise TypeError("An Image is PNG, JPEG or SVG, or a figure of matplotlib. Return another one as a File.")
        self.name = Path(self.name).stem + (suffix or ".svg")
        return {"type": "image", "file": self.saved()}


class Table:
    """A table to look at: of dicts, of a frame of pandas or polars, or of lists, with the names of their `columns`."""

    def __init__(self, rows: Any, name: str = "table", columns: Sequence[Any] = ()):
        if _is_a(rows, "DataFrame", "pandas"):
            frame = rows if _is_a(rows.index, "RangeIndex", "pandas") else rows.reset_index()
            columns, rows = frame.columns, frame.astype(object).where(frame.notna(), None).itertuples(False, None)
        elif _is_a(rows, "DataFrame", "polars"):  # tried by hand with 2.1: 170 MB are much for one test
            columns, rows = rows.columns, rows.iter_rows()
        elif not columns:
            rows = [*rows]
            if not all(isinstance(row, dict) for row in rows):
                raise TypeError("The rows of a Table are dicts; or lists, and then columns=[…] names their cells.")
            columns = [*dict.fromkeys(chain.from_iterable(rows))]
        self.name, self.columns = name.removesuffix(".csv"), [str(column) for column in columns]
        self.rows = ([row.get(column) for column in columns] if isinstance(row, dict) else [*row] for row in rows)

    def describe(self, room: int) -> dict[str, Any]:
        """Describe it as the contract does: the first rows, and all of them in a file."""
        file, shown, number = File(name=f"{self.name}.csv"), [], 0
        columns = self.columns[:MAX_COLUMNS]
        room -= len(_json(columns))
        with file.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(self.columns)
            for number, row in enumerate(self.rows, 1):
                if len(row) != len(self.columns):
                    raise TypeError(f"Row {number} of the Table has {len(row)} cells, and not {len(self.columns)}.")
                data = _json(row)
                cells = _value(data)
                writer.writerow([json.dumps(cell) if isinstance(cell, list | dict) else cell for cell in cells])
                room -= len(data)
                if number <= MAX_ROWS and room >= 0:
                    shown.append(cells[:MAX_COLUMNS])
        return {"type": "table", "columns": columns, "rows": shown, "count": number, "file": file.saved()}


def result_of(value: Any) -> dict[str, Any]:
    """Describe what a function returned: one result, or the first of several with the others as `more`.

    Raises:
        TypeError: it cannot be a result.
    """
    parts = [*value.values()] if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    if not any(map(_is_rich, parts)):
        return _describe(value, MAX_RESULT_BYTES)
    described = [_describe(part, MAX_RESULT_BYTES // len(parts)) for part in parts]
    if isinstance(value, dict):
        described = [
            part | {"label": replace_surrogates(str(label))} for label, part in zip(value, described, strict=True)
        ]
    return described[0] | ({"more": described[1:]} if len(parts) > 1 else {})


def _describe(value: Any, room: int) -> dict[str, Any]:
    """Describe one result, in not much more than `room` bytes."""
    if _is_a(value, "Figure", "matplotlib"):
        value = Image(value, "figure")
    elif _is_a(value, "DataFrame", "pandas", "polars") or _is_records(value):
        value = Table(value)
    if isinstance(value, File | Table):
        return value.describe(room)
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("A result cannot be bytes. Return a File, or an Image, of them.")
    kind, suffix = ("text", ".txt") if isinstance(value, str) else ("json", ".json")
    data = value.encode(errors="replace") if isinstance(value, str) else _json(value)
    if len(data) <= room:
        return {"type": kind, "value": data.decode() if kind == "text" else _value(data)}
    preview = data[:PREVIEW_BYTES].decode(errors="ignore")
    return {"type": kind, "value": None, "preview": preview, "file": File(data, f"result{suffix}").saved()}


def _is_rich(value: Any) -> bool:
    return isinstance(value, File | Table) or (
        type(value).__module__ != "builtins"  # so that a million numbers are soon looked through
        and (_is_a(value, "Figure", "matplotlib") or _is_a(value, "DataFrame", "pandas", "polars"))
    )


def _is_records(value: Any) -> bool:
    """Tell whether a value is a list of dicts, with neither dicts nor lists within."""
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) and _is_flat(row) for row in value)


def _is_flat(row: dict[Any, Any]) -> bool:
    return bool(row) and not any(isinstance(cell, dict | list | tuple | set | File | Table) for cell in row.values())


def _is_a(value: Any, name: str, *packages: str) -> bool:
    """Tell whether a value is of a class of these packages, of which none needs to be installed."""
    return any(kind.__name__ == name and kind.__module__.partition(".")[0] in packages for kind in type(value).__mro__)


def _json(value: Any) -> bytes:
    """Write a value as JSON, in which NaN and infinity are null: it has no such numbers.

    Raises:
        TypeError: that cannot be done.
    """
    try:
        return to_json(value, inf_nan_mode="null", fallback=_listed)
    except (ValueError, TypeError, RecursionError) as error:
        raise _refusal(error) from None


def _value(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:  # a number of thousands of digits
        raise _refusal(error) from None


def _refusal(error: Exception) -> TypeError:
    why = str(error).removeprefix("Error serializing to JSON: ").removeprefix("TypeError: ")
    return TypeError(f"This cannot be a result: {why}. {ADVICE}")


def _listed(value: Any) -> Any:
    if hasattr(value, "tolist"):  # of numpy
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")
