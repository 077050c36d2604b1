"""The functions that can be launched. Yours: add one with `@job`, and its form, its page and its API are there."""

import re
import time
from collections import Counter
from typing import Annotated

from pydantic import Field

from launchpad.catalog import job
from launchpad.progress import progress


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
