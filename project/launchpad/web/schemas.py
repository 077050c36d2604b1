"""What the API answers beside what the manager does."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from launchpad.queue.schemas import Model, optional


class FunctionInfo(Model):
    """A function that can be launched; `timeout` is in seconds."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    title: str
    description: str
    parameters: dict[str, Any] = Field(description="Its parameters, as a JSON Schema.")
    timeout: int
    retries: int


class Functions(Model):
    """The functions that can be launched."""

    functions: list[FunctionInfo]


class Health(Model):
    """The server serves."""

    server: Literal["ok"] = "ok"


class Readiness(Model):
    """Redis answers, and so many workers run."""

    redis: Literal["ok"] = "ok"
    workers: int


class Fault(Model):
    """Where a fault is, and what it is."""

    loc: list[str | int]
    msg: str


class Problem(Model):
    """What went wrong, as in RFC 9457; there may be more, where it is of use."""

    model_config = ConfigDict(extra="allow", json_schema_extra={})

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[Fault] = optional([], "Which arguments are wrong, and why.")
