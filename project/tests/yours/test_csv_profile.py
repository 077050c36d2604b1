"""The example `profile_csv` on real data: the CSV files of vega_datasets, and large and odd ones made of them."""

import csv
import io
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import vega_datasets
from flask import Flask

import jobs
from helpers import children, peak_memory, wait_until
from launchpad.functions.files import UploadedFile

DATA = Path(vega_datasets.__file__).parent / "_data"
AIRPORTS = DATA / "airports.csv"
TEXT = AIRPORTS.read_text(encoding="utf-8")
MB = 1024 * 1024


def profile(data: bytes | Path) -> tuple[dict[str, dict[str, Any]], pd.DataFrame, int]:
    """The profile of each column by its name, the cleaned table, and the number of broken rows."""
    with UploadedFile(io.BytesIO(data) if isinstance(data, bytes) else data, "x.csv") as file:
        table, cleaned, broken = jobs.profile_csv(file).values()
    columns = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return {column["column"]: column for column in columns}, pd.read_csv(cleaned.path), broken


@pytest.mark.parametrize("path", sorted(DATA.glob("*.csv")), ids=lambda path: path.stem)
def test_a_profile_agrees_with_pandas(path: Path) -> None:
    columns, cleaned, broken = profile(path)
    frame = pd.read_csv(path)
    pd.testing.assert_frame_equal(cleaned, frame)
    assert (list(columns), broken) == ([*frame.columns], 0)
    for name, column in columns.items():
        known = frame[name].dropna()
        assert (column["missing"], column["distinct"]) == (len(frame) - len(known), known.nunique())
        if pd.api.types.is_numeric_dtype(known):
            assert column["type"] in ("integer", "number")
            assert (column["min"], column["max"]) == (known.min(), known.max())
            assert column["mean"] == pytest.approx(known.mean())
        else:
            assert (column["min"], column["max"], column["mean"]) == (known.min(), known.max(), None)


def test_dates_are_known_in_the_ways_in_which_they_come() -> None:
    for name, column in (("seattle-weather", "date"), ("sf-temps", "date"), ("la-riots", "death_date")):
        assert profile(DATA / f"{name}.csv")[0][column]["type"] == "date"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_separators_and_line_ends_are_found_out(separator: str, encoding: str, newline: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator=newline)
    rows = [*csv.reader(TEXT.splitlines()[:300])]
    writer.writerows([*rows, ["ZZZ", 'Café "Zürich"; a,b|c\td', "x", "", "", "1,5", "2"]])
    columns, cleaned, broken = profile(out.getvalue().encode(encoding))
    assert (list(columns), len(cleaned), broken) == (rows[0], 300, 0)
    assert cleaned["name"].iloc[-1] == 'Café "Zürich"; a,b|c\td'
    assert columns["latitude"]["type"] == "text"
    assert columns["longitude"]["type"] == "number"


@pytest.mark.parametrize(
    ("text", "kinds", "missing", "broken"),
    [
        ("a,b\n1,2\n3\n4,5,6\n7,8\n", ["integer", "integer"], [0, 0], 2),
        ("a,b\n1,\n,NA\n2,null\n", ["integer", "empty"], [1, 3], 0),
        ("a;b\n1,5;2\n3,5;4\n", ["text", "integer"], [0, 0], 0),
        ("\n\na\n1\n\n2\n", ["integer"], [0], 0),
        ("a,a,\n1,2,3\n", ["integer"], [0], 0),
        ('a,b\n1,"two\nlines"\n', ["integer", "text"], [0, 0], 0),
        ('a,b\n1,2\n3,"never ends\n' + "4,5\n" * 50_000 + "6,7\n", ["integer", "integer"], [0, 0], 1),
        ("a\n1\n2.5\n", ["number"], [0], 0),
        ("a\n1\n2026-01-01\n", ["text"], [0], 0),
        ("a\n" + "1\n" * 60_000 + "2026-01-01\n", ["text"], [0], 0),
        ("a,b\n1,\0\n", ["integer", "text"], [0, 0], 0),
        ("a,b", ["empty", "empty"], [0, 0], 0),
        ("", [], [], 0),
    ],
)
def test_broken_rows_and_gaps_come_as_they_come(text: str, kinds: list[str], missing: list[int], broken: int) -> None:
    with UploadedFile(io.BytesIO(text.encode()), "x.csv") as file:
        table, _, found = jobs.profile_csv(file).values()
    rows = [*table.rows]
    assert [row[1] for row in rows][: len(kinds)] == kinds
    assert [row[2] for row in rows][: len(missing)] == missing
    assert found == broken


def test_many_distinct_values_are_not_counted_to_the_end() -> None:
    text = "a,b\n" + "".join(f"{n},{n % 3}\n" for n in range(20_000))
    columns, _, _ = profile(text.encode())
    assert (columns["a"]["distinct"], columns["b"]["distinct"]) == ("> 10,000", 3)


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc").exists(), reason="memory is read from /proc")
def test_100_mb_are_profiled_in_constant_memory(app: Flask, worker: subprocess.Popen[bytes]) -> None:
    manager = app.extensions["launchpad"].manager
    head, _, body = AIRPORTS.read_bytes().partition(b"\n")
    count = 100 * MB // len(body)
    with manager.files.open("upload/upload", "wb") as out:
        out.write(head + b"\n" + body)
        for _ in range(count - 1):
            out.write(body)
    before = time.monotonic()
    id = manager.launch("profile_csv", {"file": {"name": "big.csv", "size": count * len(body), "key": "upload"}})[0].id
    peak, etas = 0, []

    def ended() -> bool:
        nonlocal peak
        for pid in [worker.pid, *children(worker.pid)]:
            with suppress(OSError, IndexError):  # it is not there any more
                peak = max(peak, peak_memory(pid))
        job = manager.get(id)
        if job.progress and job.state == "started":
            etas.append((job.progress.eta or 0) + job.progress.elapsed)
        return bool(job.ended_at)

    wait_until(ended, 400)
    took = time.monotonic() - before
    print(f"{took:.0f} s; peak memory of the worker's processes: {peak / MB:.0f} MB")
    result = manager.get(id).result
    assert peak < 200 * MB
    assert result.count == 7
    assert result.rows[0][:4] == ["iata", "text", 0, 3376]
    assert result.more[0].file.size > 99 * MB
    assert sorted(etas)[len(etas) // 2] == pytest.approx(took, rel=0.5)
