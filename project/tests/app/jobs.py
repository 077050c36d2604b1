"""The functions of the tests' own project: they stay what they are, whatever somebody's own jobs.py holds."""

import csv
import re
import struct
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from launchpad import File, Image, Table, UploadedFile, job, progress


@job(timeout=2 * 3600)
def wait(num_iterations: Annotated[int, Field(ge=1, le=3600, description="Seconds to wait.")] = 15) -> int:
    """Wait for num_iterations seconds."""
    for _ in progress(range(num_iterations)):
        time.sleep(1)
    return num_iterations


@job(timeout=300)
def count_words(
    text: Annotated[str, Field(min_length=1, max_length=2_000_000, description="Any text, up to 2 MB.")],
) -> dict[str, int]:
    """Count the words of a text and return the ten most frequent ones."""
    words: Counter[str] = Counter()
    for line in progress(text.splitlines(), unit="line"):
        words.update(re.findall(r"\w+", line.lower()))
    return dict(words.most_common(10))


@job(retries=3)
def flaky(chance: Annotated[float, Field(ge=0, le=1, description="Of each attempt, to fail.")] = 0.5) -> str:
    """Fail, unless the chance is 0; it is then tried again, up to three times."""
    if chance:
        raise ConnectionError("Bad luck: the other side did not answer.")
    return "It went well."


@job(timeout=3600)
def mandelbrot(
    width: Annotated[int, Field(ge=16, le=4000, description="Pixels.")] = 800,
    height: Annotated[int, Field(ge=16, le=4000, description="Pixels.")] = 600,
    iterations: Annotated[int, Field(ge=1, le=10_000, description="More of them draw finer borders.")] = 200,
) -> Image:
    """Draw a picture, row by row."""
    rows = [bytes((x * y) % iterations % 256 for x in range(width)) for y in progress(range(height), unit="row")]
    return Image(png(width, rows), "mandelbrot")


def png(width: int, rows: list[bytes]) -> bytes:
    """Write a picture of rows of bytes, in shades of grey."""
    chunks = {
        b"IHDR": struct.pack(">2I5B", width, len(rows), 8, 0, 0, 0, 0),
        b"IDAT": zlib.compress(b"".join(b"\0" + row for row in rows)),
        b"IEND": b"",
    }
    written = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


@job(timeout=3600, title="Profile CSV")
def profile_csv(
    file: Annotated[
        UploadedFile,
        Field(description="Separated by , or ;.", json_schema_extra={"accept": ".csv,.tsv,.txt"}),
    ],
) -> dict[str, Any]:
    """Tell what is in each column of a CSV file, and write the file anew."""
    print(f"{file.name}, {file.size:,} bytes")
    text, rows = TextIOWrapper(file, "utf-8", newline=""), []
    separator = max(",;", key=text.readline().count)
    text.seek(0)
    with text, progress(total=file.size, unit="B", unit_scale=True) as bar:
        for row in csv.reader(text, delimiter=separator):
            rows.append([cell.strip() for cell in row])
            bar.update(file.tell() - bar.n)
    names, *rows = filter(None, rows)
    whole = [row for row in rows if len(row) == len(names)]
    cleaned = File(name=f"{Path(file.name).stem}-cleaned.csv")
    with cleaned.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows([names, *whole])
    columns = [describe(name, [row[place] for row in whole]) for place, name in enumerate(names)]
    return {"Columns": Table(columns, "profile"), "Cleaned": cleaned, "Broken rows": len(rows) - len(whole)}


def describe(name: str, cells: Sequence[str]) -> dict[str, Any]:
    """Tell what is in a column."""
    known = [cell for cell in cells if cell]
    values: list[Any] = known
    kind = "text"
    for candidate, convert in {"number": float, "integer": int}.items():
        with suppress(ValueError):
            values, kind = [*map(convert, known)], candidate
    return {
        "column": name,
        "type": kind,
        "missing": len(cells) - len(known),
        "distinct": len(set(values)),
        "min": min(values, default=None),
        "max": max(values, default=None),
        "mean": None if kind == "text" else sum(values) / max(len(values), 1),
    }
