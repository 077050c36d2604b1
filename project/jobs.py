"""The functions that can be launched. Yours: add one with `@job`, and its form, its page and its API are there."""

import codecs
import csv
import logging
import random
import re
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from io import TextIOWrapper
from itertools import islice
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
    """Fail sometimes; it is then tried again, up to three times."""
    for _ in progress(range(20), desc="Hoping"):
        time.sleep(0.1)
    if random.random() < chance:  # noqa: S311 - nobody has to be unable to guess it
        raise ConnectionError("Bad luck: the other side did not answer.")
    return "It went well."


@job(timeout=3600)
def mandelbrot(
    width: Annotated[int, Field(ge=16, le=4000, description="Pixels.")] = 800,
    height: Annotated[int, Field(ge=16, le=4000, description="Pixels.")] = 600,
    iterations: Annotated[int, Field(ge=1, le=10_000, description="More of them draw finer borders.")] = 200,
) -> Image:
    """Draw the Mandelbrot set, row by row."""
    rows = []
    for y in progress(range(height), unit="row"):
        points = (complex(3.2 * x / width - 2.3, 2.4 * y / height - 1.2) for x in range(width))
        rows.append(bytes(255 * steps_to_leave(point, iterations) // iterations for point in points))
    return Image(png(width, rows), "mandelbrot")


def steps_to_leave(point: complex, most: int) -> int:
    """Count the steps until z*z + point leaves the circle of radius 2; 0 if it has not after the most."""
    z = 0j
    for step in range(most):
        if abs(z) > 2:
            return step
        z = z * z + point
    return 0


def png(width: int, rows: list[bytes]) -> bytes:
    """Write a picture of rows of bytes, from black over blue to white."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">2I5B", width, len(rows), 8, 3, 0, 0, 0)  # a byte for each pixel: the number of a colour
    colours = b"".join(bytes((max(2 * i - 255, 0), i, min(3 * i, 255))) for i in range(256))
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = chunk(b"IHDR", header) + chunk(b"PLTE", colours) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@job(timeout=3600, title="Profile CSV")
def profile_csv(
    file: Annotated[
        UploadedFile,
        Field(description="Any encoding, any separator.", json_schema_extra={"accept": ".csv,.tsv,.txt"}),
    ],
) -> dict[str, Any]:
    """Tell the type, the gaps and the limits of each column of a CSV file, and clean the file up.

    The first row has the names; a row with more or fewer cells than it is broken, and left out.
    """
    text, separator = open_csv(file)
    print(f"{file.name}, {file.size:,} bytes: {text.encoding}, separated by {separator!r}.")
    rows, broken = read_rows(text, separator), 0
    columns = [Column(name) for name in next(rows, [])]
    batch_size = 1 + 50_000 // max(len(columns), 1)  # so many cells are in memory at a time, whatever the size
    cleaned = File(name=f"{Path(file.name).stem}-cleaned.csv")
    bar = progress(total=file.size, unit="B", unit_scale=True)
    with text, bar, cleaned.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(column.name for column in columns)
        while batch := [*islice(rows, batch_size)]:
            whole = [row for row in batch if len(row) == len(columns)]
            broken += len(batch) - len(whole)
            for column, cells in zip(columns, zip(*whole, strict=True), strict=False):
                column.add(cells)
            writer.writerows(whole)
            bar.update(file.tell() - bar.n)
    if broken:
        logging.warning("%d rows were broken, and left out.", broken)
    return {
        "Columns": Table([column.profile() for column in columns], "profile"),
        "Cleaned": cleaned,
        "Broken rows": broken,
    }


def as_windows(error: Any) -> tuple[str, int]:
    """Take the bytes that are not UTF-8 for the encoding of Windows; some files have both."""
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error("windows", as_windows)


def open_csv(file: UploadedFile) -> tuple[TextIOWrapper, str]:
    """Find out the encoding of a CSV file, and the separator: with it, most rows have the same number of cells."""
    start = file.read(2**16)
    file.seek(0)
    encoding = "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    lines = start.decode(encoding, "windows").splitlines()

    def regularity(separator: str) -> tuple[int, int]:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=separator) if len(row) > 1)
        return max((number, width) for width, number in widths.items()) if widths else (0, 0)

    return TextIOWrapper(file, encoding, "windows", newline=""), max(",;\t|", key=regularity)


def read_rows(text: TextIOWrapper, separator: str) -> Iterator[list[str]]:
    """Read the rows of a CSV file that are not empty."""
    reader = csv.reader(text, delimiter=separator)
    while True:
        try:
            if row := next(reader):
                yield [cell.strip() for cell in row]
        except csv.Error as error:  # a quote that nothing ends
            print(f"Line {reader.line_num}: {error}")
            yield []
        except StopIteration:
            return


def moment(text: str) -> datetime:
    """Read a date, perhaps with a time: 2026-11-22, 2026/11/22 10:00."""
    return datetime.fromisoformat(text.replace("/", "-"))


KINDS: dict[str, Callable[[str], Any]] = {"integer": int, "number": float, "date": moment, "text": str}
GAPS = ("", "-", "na", "n/a", "nan", "null", "none")
MANY = 10_000  # up to so many distinct values are counted


class Column:
    """What is known of a column after some of its cells: little, however many they are."""

    def __init__(self, name: str):
        self.name, self.kind, self.missing, self.count, self.sum = name, "integer", 0, 0, 0.0
        self.distinct: set[int] | None = set()
        self.texts: list[str] = []  # the least and the greatest one
        self.numbers: list[float] = []

    def add(self, cells: Sequence[str]) -> None:
        """Take the next cells in."""
        values = [cell for cell in cells if cell.lower() not in GAPS]
        self.missing += len(cells) - len(values)
        if values:
            self.texts = [min(values + self.texts), max(values + self.texts)]
            numbers = self.convert(values)
            if self.kind in ("integer", "number"):
                self.numbers = [min(numbers + self.numbers), max(numbers + self.numbers)]
                self.sum += sum(numbers)
            self.count += len(values)
            if self.distinct is not None:
                self.distinct.update(map(hash, values))
                self.distinct = self.distinct if len(self.distinct) <= MANY else None

    def convert(self, values: list[str]) -> list[Any]:
        """Convert values to the kind of the column, which becomes a wider one where they are not of it."""
        while True:
            try:
                return [*map(KINDS[self.kind], values)]
            except ValueError:
                wider = {"integer": "number", "number": "text" if self.count else "date"}
                self.kind = wider.get(self.kind, "text")

    def profile(self) -> dict[str, Any]:
        """Tell what is known; a text is cut after 100 characters."""
        numeric = self.kind in ("integer", "number")
        least, greatest = (self.numbers if numeric else [text[:100] for text in self.texts]) or (None, None)
        return {
            "column": self.name,
            "type": self.kind if self.count else "empty",
            "missing": self.missing,
            "distinct": f"> {MANY:,}" if self.distinct is None else len(self.distinct),
            "min": least,
            "max": greatest,
            "mean": self.sum / self.count if numeric and self.count else None,
        }
