"""What the API answers beside what the manager does."""

from typing import Any

from pydantic import ConfigDict, Field

from launchpad.queue.schemas import Model


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
