"""What a function may return, and the JSON that becomes of it."""

import csv
import datetime as dt
import io
import json
import math
from collections.abc import Iterator
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from vega_datasets import local_data

import jobs
from launchpad.functions import files
from launchpad.functions.files import File
from launchpad.functions.results import MAX_COLUMNS, MAX_RESULT_BYTES, MAX_ROWS, Image, Table, result_of
from launchpad.storage import Store

PNG = jobs.png(1, [b"\xff"])
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.fixture(autouse=True)
def out(files_url: str) -> Iterator[Path]:
    """The folder where the files of the job go that this test is."""
    files.save_to(Store(files_url), "job")
    yield Path(files_url, "job", "out")
    files._place = None


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        ({"a": [1, 2.5, True]}, {"a": [1, 2.5, True]}),
        ([], []),
        ({1: {"2": 3}}, {"1": {"2": 3}}),
        (10**30, 10**30),
        (math.nan, None),
        ({"a": [math.inf, -math.inf]}, {"a": [None, None]}),
        ((1, 2), [1, 2]),
        ([[{"a": 1}], 2], [[{"a": 1}], 2]),
        ([{"a": {"b": 1}}], [{"a": {"b": 1}}]),
        (dt.date(2026, 11, 22), "2026-11-22"),
        ([dt.datetime(2026, 11, 22, 10, tzinfo=dt.UTC)], ["2026-11-22T10:00:00Z"]),
        (Decimal("1.10"), "1.10"),
        ({Colour.RED: Colour.RED}, {"red": "red"}),
        (np.float64(1.5), 1.5),
        ({"mean": np.float32(math.nan), "n": np.int64(3)}, {"mean": None, "n": 3}),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (pd.Series([1, 2]), [1, 2]),
    ],
)
def test_what_json_can_hold_is_shown_as_json(value: Any, shown: Any) -> None:
    assert result_of(value) == {"type": "json", "value": shown}
    json.dumps(result_of(value), allow_nan=False)


def test_a_text_is_shown_as_a_text() -> None:
    assert result_of("Ü <b>") == {"type": "text", "value": "Ü <b>"}
    assert result_of("\ud800") == {"type": "text", "value": "?"}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (object(), "This cannot be a result: object is not JSON. Return JSON"),
        ({"a": open}, "This cannot be a result: builtin_function_or_method is not JSON"),
        (b"bytes", "A result cannot be bytes. Return a File"),
        ({"deep": {"er": Table([{"a": 1}])}}, "This cannot be a result: Table is not JSON.* in a list or dict"),
        (File(name="empty.txt"), "There is nothing in the File empty.txt"),
        (File(3), "A File is made of a path, of bytes or of an open file, and not of int"),
        (Image(b"GIF89a"), "An Image is PNG, JPEG or SVG"),
        (Table([[1, 2]], columns=["a"]), "Row 1 of the Table has 2 cells, and not 1"),
    ],
)
def test_what_cannot_be_a_result_fails_with_a_sentence(value: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=f"^{sentence}"):
        result_of(value)


def test_a_result_within_itself_fails_with_a_sentence() -> None:
    around: list[Any] = []
    around.append(around)
    with pytest.raises(TypeError, match="^This cannot be a result: .*Circular"):
        result_of(around)


@pytest.mark.parametrize(
    ("value", "name", "kind"),
    [
        ("x" * MAX_RESULT_BYTES + "y", "result.txt", "text/plain"),
        (["x" * MAX_RESULT_BYTES], "result.json", "application/json"),
    ],
)
def test_what_is_larger_than_a_megabyte_goes_to_a_file(value: Any, name: str, kind: str, out: Path) -> None:
    result = result_of(value)
    size = (out / name).stat().st_size
    assert size > MAX_RESULT_BYTES
    assert result["value"] is None
    assert result["file"] == {"name": name, "size": size, "media_type": kind}, "where it is, the server says"
    assert (out / name).read_text().startswith(result["preview"])
    assert len(json.dumps(result)) < 20_000


# -- tables

ROWS = [{"name": "Ada", "height": 1.68}, {"name": "Alan", "born": dt.date(1912, 6, 23)}]


@pytest.mark.parametrize(
    "value", [ROWS, Table(ROWS), Table(iter(ROWS)), Table(ROWS, columns=["name", "height", "born"])]
)
def test_a_list_of_records_is_a_table(value: Any, out: Path) -> None:
    result = result_of(value)
    assert result == {
        "type": "table",
        "columns": ["name", "height", "born"],
        "rows": [["Ada", 1.68, None], ["Alan", None, "1912-06-23"]],
        "count": 2,
        "file": {"name": "table.csv", "size": 47, "media_type": "text/csv"},
    }
    assert (out / "table.csv").read_bytes() == b"name,height,born\r\nAda,1.68,\r\nAlan,,1912-06-23\r\n"


def test_frames_of_pandas_are_tables_with_gaps_where_they_have_them(out: Path) -> None:
    frame = local_data.la_riots()
    result = result_of(frame)
    json.dumps(result, allow_nan=False)
    assert (result["columns"], result["count"]) == ([*frame.columns], len(frame))
    assert result["rows"][0][:3] == ["Cesar A.", "Aguilar", 18.0]
    assert sum(row[2] is None for row in result["rows"]) == frame["age"].isna().sum() == 1
    by_type = result_of(frame.groupby("type")["age"].mean().to_frame())
    assert (by_type["columns"], by_type["rows"][0][0]) == (["type", "age"], "Death")
    assert len(pd.read_csv(out / "table.csv")) == len(frame)


def test_a_long_table_shows_its_first_rows_and_has_all_in_its_file(out: Path) -> None:
    result = result_of(Table(({"n": n} for n in range(MAX_ROWS + 5)), "numbers"))
    assert (len(result["rows"]), result["count"]) == (MAX_ROWS, MAX_ROWS + 5)
    assert (out / "numbers.csv").read_text().splitlines()[-1] == str(MAX_ROWS + 4)
    wide = result_of([{"n": "x" * 100_000}] * 20)
    assert len(wide["rows"]) == 10
    assert len(json.dumps(wide)) < MAX_RESULT_BYTES + 1000


def test_cells_of_any_kind_are_written_to_the_file(out: Path) -> None:
    result_of(Table([[1, "a,b", None, True, [1, 2], {"a": "ü"}]], "odd.csv", list("abcdef")))
    with (out / "odd.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file))[1] == ["1", "a,b", "", "True", "[1, 2]", '{"a": "\\u00fc"}']


def test_the_rows_of_a_table_are_dicts_or_have_the_names_of_their_columns() -> None:
    with pytest.raises(TypeError, match=r"^The rows of a Table are dicts; or lists, and then columns="):
        Table([[1, 2]])
    assert result_of(Table([]))["columns"] == []
    assert result_of(Table([], columns=["a"]))["rows"] == []


# -- pictures and files


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (PNG, "image.png", "image/png"),
        (b"\xff\xd8\xff\xe0", "image.jpg", "image/jpeg"),
        (SVG, "image.svg", "image/svg+xml"),
    ],
)
def test_a_picture_is_known_by_what_is_in_it(data: bytes, name: str, kind: str, out: Path) -> None:
    result = result_of(Image(data))
    assert (result["type"], result["file"]["name"], result["file"]["media_type"]) == ("image", name, kind)
    assert (out / name).read_bytes() == data
    assert result_of(Image(io.BytesIO(data), "plot.html"))["file"]["name"] == f"plot{Path(name).suffix}"


def test_a_figure_of_matplotlib_is_a_picture(out: Path) -> None:
    figure = Figure()
    figure.subplots().plot([1, 3, 2])
    for value, name in ((figure, "figure.png"), (Image(figure, "sales"), "sales.png")):
        assert result_of(value)["file"]["name"] == name
        assert (out / name).read_bytes().startswith(b"\x89PNG")


def test_a_file_is_made_of_a_path_of_bytes_or_of_an_open_file(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "Übersicht.txt"
    path.write_text("ü", encoding="utf-8")
    with path.open("rb") as binary, path.open(encoding="utf-8") as text:
        binary.read()
        for source in (path, str(path), binary, text):
            saved = result_of(File(source))["file"]
            assert (out / saved["name"]).read_bytes() == path.read_bytes()
    assert sorted(file.name for file in out.iterdir()) == [
        "Übersicht-2.txt", "Übersicht-3.txt", "Übersicht-4.txt", "Übersicht.txt"
    ]  # fmt: skip
    assert saved["name"] == "Übersicht-4.txt"
    assert result_of(File(b"a", "../../x"))["file"]["name"] == "x"


def test_a_file_is_written_where_it_stays(out: Path) -> None:
    file = File(name="lines.txt")
    opened = file.open("w", encoding="utf-8")
    opened.write("not closed by its author")
    assert result_of(file)["file"]["size"] == 24
    assert (out / "lines.txt").read_text() == "not closed by its author"


def test_outside_of_a_worker_a_file_is_in_a_temporary_folder() -> None:
    files._place = None
    file = File(name="lines.txt")
    with file.open() as opened:
        opened.write(b"a")
    assert Path(file.path).read_bytes() == b"a"


def test_several_results_are_the_first_and_more() -> None:
    result = result_of([Table(ROWS), Image(PNG), "text", {"a": 1}, ROWS])
    assert result["type"] == "table"
    assert [part["type"] for part in result["more"]] == ["image", "text", "json", "table"]
    named = result_of({"rows": 2, "table": Table(ROWS)})
    assert (named["value"], named["label"], named["more"][0]["label"]) == (2, "rows", "table")
    assert "more" not in result_of((Image(PNG),))
    large = result_of([Image(PNG), "x" * MAX_RESULT_BYTES])
    assert large["more"][0]["value"] is None
    assert (
        len(json.dumps(result_of([Table({"n": "x" * 5000} for _ in range(1000)) for _ in range(4)])))
        < 1.1 * MAX_RESULT_BYTES
    )


def test_a_million_numbers_are_soon_looked_through() -> None:
    result = result_of([*range(1_000_000)])
    assert result["value"] is None
    assert result["preview"].startswith("[0,1,2")


def test_of_a_table_with_very_many_columns_the_first_are_shown(out: Path) -> None:
    result = result_of(Table([range(3000)], columns=[f"column {n}" for n in range(3000)]))
    assert (len(result["columns"]), len(result["rows"][0])) == (MAX_COLUMNS, MAX_COLUMNS)
    assert len((out / "table.csv").read_text().splitlines()[0].split(",")) == 3000


def test_a_file_that_is_opened_again_stays_the_same_file(out: Path) -> None:
    file = File(name="notes.txt.gz")
    for text in (b"one", b"two"):
        with file.open("ab") as opened:
            opened.write(text)
    described = result_of(file)["file"]
    assert (described["name"], described["size"]) == ("notes.txt.gz", 6)
    assert described["media_type"] == "application/octet-stream"


def test_what_no_page_could_show_is_replaced_or_refused() -> None:
    assert result_of({"caf\udce9": Table([{"a": 1}])})["label"] == "caf?"
    with pytest.raises(TypeError, match="This cannot be a result"):
        result_of([10**5000])
