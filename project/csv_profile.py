"""What the example `profile_csv` needs beyond its own lines. Delete it with the example."""

import codecs
import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from io import TextIOWrapper
from itertools import islice
from typing import IO, Any

from launchpad import UploadedFile, progress


def profile(file: UploadedFile, out: IO[str]) -> tuple[list[dict[str, Any]], int]:
    """Profile each column of a CSV file, write its whole rows to out, and count the broken ones."""
    text, separator = open_csv(file)
    print(f"{file.name}, {file.size:,} bytes: {text.encoding}, separated by {separator!r}.")
    rows, broken = read_rows(text, separator), 0
    columns = [Column(name) for name in next(rows, [])]
    batch_size = 1 + 50_000 // max(len(columns), 1)  # so many cells are in memory at a time, whatever the size
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(column.name for column in columns)
    with text, progress(total=file.size, unit="B", unit_scale=True) as bar:
        while batch := [*islice(rows, batch_size)]:
            whole = [row for row in batch if len(row) == len(columns)]
            broken += len(batch) - len(whole)
            for column, cells in zip(columns, zip(*whole, strict=True), strict=False):
                column.add(cells)
            writer.writerows(whole)
            bar.update(file.tell() - bar.n)
    return [column.profile() for column in columns], broken


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
