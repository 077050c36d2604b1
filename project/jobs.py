"""The functions that can be launched. Yours: add one with `@job`, and its form, its page and its API are there.

These are examples: delete them on the first day, with csv_profile.py and fractal.py beside this file, where two of them
have what is more than a few lines.
"""

import logging
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

import csv_profile
import fractal
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
        rows.append(bytes(255 * fractal.steps_to_leave(point, iterations) // iterations for point in points))
    return Image(fractal.png(width, rows), "mandelbrot")


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
    cleaned = File(name=f"{Path(file.name).stem}-cleaned.csv")
    with cleaned.open("w", encoding="utf-8", newline="") as out:
        columns, broken = csv_profile.profile(file, out)
    if broken:
        logging.warning("%d rows were broken, and left out.", broken)
    return {"Columns": Table(columns, "profile"), "Cleaned": cleaned, "Broken rows": broken}
