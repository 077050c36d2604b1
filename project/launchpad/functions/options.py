"""The options of `@job`: what they may be."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

DAY = 24 * 3600  # seconds, as the next one
YEAR = 365 * DAY
UNITS = {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}
LEAST_MEMORY_BYTES = 50_000_000  # what Python and this project take themselves


def _bytes(text: Any) -> Any:
    """Read an amount of memory, like "2 GB" or "512 MiB"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)", text) if isinstance(text, str) else None
    if match is None or match[2].upper() not in UNITS:
        raise ValueError('an amount is written like "2 GB" or "512 MB"')
    return int(float(match[1]) * UNITS[match[2].upper()])


def _is_enough(amount: int) -> int:
    if amount < LEAST_MEMORY_BYTES:
        raise ValueError(f"Python itself needs {LEAST_MEMORY_BYTES // 1000**2} MB")
    return amount


class Options(BaseModel):
    """The options of `@job`; durations are in seconds."""

    model_config = ConfigDict(strict=True, extra="forbid")

    timeout: Annotated[int, Field(ge=1, le=YEAR)]
    result_ttl: Annotated[int, Field(ge=-1, le=10 * YEAR)]
    failure_ttl: Annotated[int, Field(ge=1, le=10 * YEAR)]
    retries: Annotated[int, Field(ge=0, le=1000)]
    title: Annotated[str, Field(min_length=1, max_length=200)] | None
    cron: str | None
    warm: bool
    memory: Annotated[int, AfterValidator(_is_enough), BeforeValidator(_bytes)] | None


def read_options(function: str, chosen: Mapping[str, Any]) -> Options:
    """Check the options of a function.

    Raises:
        TypeError: one is wrong.
    """
    try:
        return Options.model_validate(chosen)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            known = ", ".join(Options.model_fields)
            raise TypeError(f"{function}: there is no option {first['loc'][0]}: take one of {known}") from None
        said = first["msg"].removeprefix("Value error, ")
        raise TypeError(f"{function}: option {first['loc'][0]}: {said}") from None
