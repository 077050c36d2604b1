"""The signature of a function, read once: its parameters, their inputs and their model."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any, get_type_hints

from croniter import croniter
from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError, create_model

from launchpad.functions.forms import Field, NoForm, type_name
from launchpad.functions.forms import field_of as input_of

RESERVED = ("function", "scheduled_at")  # what a launch by a form carries beside the arguments
TAKE = "take int, float, bool, str, date, datetime, Decimal, Literal, an Enum, UploadedFile, or a list of one of these"


def read_parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a function, their annotations resolved.

    Raises:
        TypeError: one cannot be read.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except Exception as error:  # an annotation in quotes is read only now
        raise TypeError(f"{function.__name__}: a type is wrong: {type(error).__name__}: {error}") from None
    parameters = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) or name not in hints:
            raise TypeError(f"{function.__name__}: parameter {name} needs a name and a type")
        if name in RESERVED:
            raise TypeError(f"{function.__name__}: parameter {name} needs another name; a launch has this itself")
        parameters.append(parameter.replace(annotation=hints[name]))
    return parameters


def field_of(function: str, parameter: inspect.Parameter) -> Field:
    """Return the input of a parameter of a function of this name, and check its default.

    Raises:
        TypeError: there is none, or the default is wrong.
    """
    required = parameter.default is parameter.empty
    here = f"{function}: parameter {parameter.name}:"
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(parameter.annotation)
        default = None if required else adapter.dump_python(adapter.validate_python(parameter.default), mode="json")
        return input_of(parameter.name, adapter.json_schema(), required, default)
    except (NoForm, PydanticUserError):
        raise TypeError(f"{here} there is no form for {type_name(parameter.annotation)}: {TAKE}") from None
    except ValidationError as error:
        raise TypeError(f"{here} the default is wrong: {error.errors()[0]['msg']}") from None
    except Exception as error:  # as of limits that do not go with the type
        raise TypeError(f"{here} its type is wrong: {type(error).__name__}: {error}") from None


def check_cron(function: str, cron: str, parameters: list[inspect.Parameter]) -> str:
    """Return a schedule of a function of this name, if it can be followed.

    Raises:
        TypeError: it cannot.
    """
    if len(cron.split()) != 5 or not croniter.is_valid(cron):
        raise TypeError(f"{function}: {cron!r} is not a schedule like '30 2 * * 1' (minute hour day month weekday)")
    for parameter in parameters:
        if parameter.default is parameter.empty:
            raise TypeError(f"{function}: parameter {parameter.name} needs a default, since cron launches it by itself")
    return cron


def model_of(function: str, parameters: list[inspect.Parameter]) -> type[BaseModel]:
    """Return the pydantic model of the parameters of a function of this name."""
    fields: dict[str, Any] = {
        parameter.name: (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
        for parameter in parameters
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a parameter may be called `copy` or `json`
        return create_model(function, __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)
