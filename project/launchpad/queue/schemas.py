"""What the manager answers, and so what the API answers and the pages show: pydantic models, as the contract has them.

OpenAPI is made from them: a class's docstring and a field's description are read by people who use the API.
RQ's own job, which a worker runs, is `launchpad.queue.job.Job`.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, StrictInt, WithJsonSchema, field_validator
from typing_extensions import TypeAliasType

from launchpad.queue.states import STATES

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")  # of the lines of a log


def _time(timespec: str) -> Any:
    return PlainSerializer(lambda time: time.isoformat(timespec=timespec), return_type=str, when_used="json")


Time = Annotated[datetime, _time("auto"), WithJsonSchema({"type": "string", "format": "date-time"})]
LogTime = Annotated[datetime, _time("milliseconds"), WithJsonSchema({"type": "string", "format": "date-time"})]
Number = Annotated[  # an integer stays one
    StrictInt | Annotated[float, Field(strict=True, allow_inf_nan=False)], WithJsonSchema({"type": "number"})
]
# Any text is taken: what somebody else wrote to Redis must not keep a list from being shown.
State = Annotated[str, WithJsonSchema({"type": "string", "enum": list(STATES)})]
Level = Annotated[str, WithJsonSchema({"type": "string", "enum": list(LOG_LEVELS)})]


def optional(default: Any = None, description: str | None = None) -> Any:
    """Describe a field that is left out of the JSON where it is empty, and so never null."""
    factory: Callable[[], Any] = list if default == [] else lambda: default
    return Field(
        default_factory=factory,
        description=description,
        exclude_if=lambda value: value is None or value == [],
        json_schema_extra=_without_null,
    )


def _without_null(schema: dict[str, Any]) -> None:
    for option in schema.pop("anyOf", []):
        if option != {"type": "null"}:
            schema.update(option)


class Model(BaseModel):
    """What is read may have more fields, of another version of ours; what is answered has these."""

    model_config = ConfigDict(
        json_schema_extra={"additionalProperties": False},
        json_schema_serialization_defaults_required=True,
        defer_build=True,  # until it is first used: a worker uses none, and would start a quarter of a second later
    )


class Bar(Model):
    """A progress bar; `rate` is per second, `elapsed` and `eta` are in seconds."""

    done: Number
    total: Number | None
    percent: Number | None
    message: str
    rate: Number | None
    eta: Number | None
    elapsed: Number = 0
    unit: str = "it"


class Progress(Bar):
    """How far a job is; `rate` is per second, `elapsed` and `eta` are in seconds."""

    inner: list[Bar] = Field(default=[], description="The bars within it, from the outside to the inside.")


class StoredFile(Model):
    """A file, to be downloaded from `url`; its size is in bytes."""

    name: str
    size: int
    media_type: str
    url: str = ""  # the web server alone knows it, and puts it in; what an older version has kept of it is not read

    @field_validator("url", mode="before")
    @classmethod
    def _forget(cls, value: Any) -> str:
        return ""


class _Result(Model):
    label: str | None = optional(description="Its key in the dict that was returned.")
    more: list["Result"] = optional([], "The other results, none of which has `more`.")


class _Value(_Result):
    preview: str | None = optional(description="How it begins, where it is too large to be shown whole.")
    file: StoredFile | None = optional(description="All of it, where it is too large to be in the job.")


class JsonResult(_Value):
    """JSON; null where a `preview` stands for it."""

    type: Literal["json"] = "json"
    value: Any


class TextResult(_Value):
    """A text; null where a `preview` stands for it."""

    type: Literal["text"] = "text"
    value: str | None


class TableResult(_Result):
    """A table, with all of its rows in a CSV file."""

    type: Literal["table"] = "table"
    columns: list[str]
    rows: list[list[Any]] = Field(description="The first ones; in a list of jobs, none.")
    count: int = Field(description="How many there are.")
    file: StoredFile


class ImageResult(_Result):
    """A picture."""

    type: Literal["image"] = "image"
    file: StoredFile


class FileResult(_Result):
    """A file that is neither a table nor a picture."""

    type: Literal["file"] = "file"
    file: StoredFile


Result = TypeAliasType(
    "Result",
    Annotated[
        JsonResult | TextResult | TableResult | ImageResult | FileResult,
        Field(discriminator="type", description="What a function returned."),
    ],
)


class JobError(Model):
    """Why a job failed: one line for a person, and the traceback."""

    cause: str
    traceback: str


class Attempt(Model):
    """One of the times that a job was tried; `ended_at` and `cause` are of one that failed."""

    started_at: Time
    ended_at: Time | None = None
    cause: str = ""


class Usage(Model):
    """What the processes of a job have used, in all its children; the memory is that of the largest one."""

    cpu_seconds: Number
    max_memory_bytes: int


class Job(Model):
    """A queued or finished run of a function. Times are UTC."""

    id: str
    function: str
    arguments: dict[str, Any]
    state: State
    progress: Progress | None = None
    queue: str = "default"
    position: int | None = Field(default=None, description="Its place in the queue while it is queued, from 1.")
    result: Result | None = None
    error: JobError | None = None
    attempt: int = 0
    worker: str | None = None
    stopping: bool = Field(default=False, description="It was interrupted while it ran, and may still clean up.")
    usage: Usage | None = Field(default=None, description="Of its last attempt, when that has ended.")
    created_at: Time
    scheduled_at: Time | None = None
    starts_at: Time | None = Field(default=None, description="While it is queued: when it will start, an estimate.")
    started_at: Time | None = None
    ended_at: Time | None = None
    expires_at: Time | None = None


class Workers(Model):
    """How many workers there are, and how many of them run a job."""

    total: int
    busy: int


class Listing(Model):
    """Some jobs; long texts among their arguments are cut."""

    jobs: list[Job]
    counts: dict[str, int] = Field(
        description="The number of all jobs in each state.", json_schema_extra={"required": list(STATES)}
    )
    page: int
    pages: int
    total: int
    workers: Workers


class LogLine(Model):
    """A line that a job has printed, or logged."""

    time: LogTime
    level: Level
    text: str


class Log(Model):
    """Lines of a log, and how to ask for the next."""

    lines: list[LogLine]
    next: int = Field(description="What `after` is to be in the next request.")
    complete: bool = Field(description="Whether the job has ended, and these were the last lines.")
