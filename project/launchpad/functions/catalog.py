"""The catalog: what `@job` makes of a function. Its signature is read once; form, API and worker follow from it."""

import inspect
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pkgutil import walk_packages
from types import ModuleType
from typing import Any, TypeVar, get_args, get_type_hints

from croniter import croniter
from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError, create_model

from launchpad.functions.forms import Field, NoForm, field_of, read

F = TypeVar("F", bound=Callable[..., Any])
DAY = 24 * 3600
RESERVED = ("function", "scheduled_at")  # what a launch by a form carries beside the arguments


class InvalidArguments(ValueError):
    """Arguments that a function does not take; `errors` has a {"loc", "msg"} for each."""

    def __init__(self, errors: list[dict[str, Any]]):
        self.errors = errors
        super().__init__("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in self.errors))


@dataclass(frozen=True)
class Function:
    """A function of `jobs.py` that can be launched; durations are in seconds."""

    name: str
    module: str
    title: str
    description: str
    timeout: int
    result_ttl: int
    failure_ttl: int
    retries: int
    cron: str | None
    isolated: bool
    call: Callable[..., Any] = field(repr=False)
    fields: list[Field] = field(repr=False)
    model: type[BaseModel] = field(repr=False)

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """The parameters, as a JSON Schema of an object."""
        return self.model.model_json_schema()

    def parse(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Check arguments that came as JSON and answer them with the defaults filled in, still as JSON.

        Raises:
            InvalidArguments: a value is missing, unknown, of another type or out of its limits.
        """
        # Strict JSON and not strict Python: a date may be a string, a number may not.
        return self._checked(self.model.model_validate_json, json.dumps(arguments), strict=True)

    def parse_form(self, form: Mapping[str, list[Any]]) -> dict[str, Any]:
        """Do the same for the strings and files of a form, a list of them for each input.

        Raises:
            InvalidArguments: as `parse`.
        """
        return self._checked(self.model.model_validate, read(self.fields, form))

    def parse_again(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Do the same for the arguments that a job has, files included; the function may have changed since.

        Raises:
            InvalidArguments: as `parse`.
        """
        return self._checked(self.model.model_validate, arguments)

    def with_files(self, arguments: dict[str, Any], change: Callable[[str, Any], Any]) -> dict[str, Any]:
        """Answer arguments in which `change` has replaced each file, by the place that it has to itself, and it."""
        files = {field.name: arguments.get(field.name) for field in self.fields if field.kind == "file"}
        changed = {
            name: [change(f"{name}/{i}", file) for i, file in enumerate(given)]
            if isinstance(given, list)
            else change(f"{name}/0", given)
            for name, given in files.items()
            if given
        }
        return arguments | changed

    def typed(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Turn the JSON that `parse` answered, with files opened, into what the function declares."""
        model = self.model.model_validate(arguments)
        return {name: getattr(model, name) for name in type(model).model_fields}

    def _checked(self, validate: Callable[..., BaseModel], arguments: Any, **options: Any) -> dict[str, Any]:
        try:
            return validate(arguments, **options).model_dump(mode="json")
        except ValidationError as error:
            errors = [{"loc": list(item["loc"]), "msg": item["msg"]} for item in error.errors()]
            raise InvalidArguments(errors) from None


def job(
    *,
    timeout: int = 600,
    result_ttl: int = 7 * DAY,
    failure_ttl: int = 30 * DAY,
    retries: int = 0,
    title: str | None = None,
    cron: str | None = None,
    isolated: bool = False,
) -> Callable[[F], F]:
    """Make a function one that can be launched; it stays the plain function that it is.

    Args:
        timeout: seconds after which it is ended, and has failed.
        result_ttl: seconds that a finished job and its result are kept.
        failure_ttl: seconds that a failed one is kept.
        retries: how often it is tried again after a failure. 0 means that it runs at most once; above 0 it may also
            run twice when a worker is lost, so it must be idempotent.
        title: what the page calls it; otherwise its name, in words.
        cron: when it is launched by itself, with its defaults: "minute hour day month weekday", in the time zone of
            the worker, which in the containers is UTC.
        isolated: whether each run has a process of its own; otherwise what a run leaves behind in its process (global
            variables, the working directory, memory) may be there for the next one of whatever function.

    Raises:
        TypeError: a parameter has a type for which there is no form, or `cron` cannot be followed.
    """

    def decorate(function: F) -> F:
        name = function.__name__
        parameters = _parameters(function)
        launchable = Function(
            name=name,
            module=function.__module__,
            title=title or name.replace("_", " ").capitalize(),
            description=inspect.getdoc(function) or "",
            timeout=timeout,
            result_ttl=result_ttl,
            failure_ttl=failure_ttl,
            retries=retries,
            cron=_cron(name, cron, parameters) if cron else None,
            isolated=isolated,
            call=function,
            fields=[_field(name, parameter) for parameter in parameters],
            model=_model(name, parameters),
        )
        function.job = launchable  # type: ignore[attr-defined]
        return function

    return decorate


def collect(module: ModuleType) -> dict[str, Function]:
    """Return the functions of a module, or of all modules of a package, that are decorated with `@job`, by name.

    They are in the order of their definition.
    """
    modules = [module]
    if path := getattr(module, "__path__", None):
        names = (found.name for found in walk_packages(path, f"{module.__name__}."))
        modules += [import_module(name) for name in names]
    found = (_job_of(value) for each in modules for value in vars(each).values())
    return {function.name: function for function in found if isinstance(function, Function)}


def _job_of(value: object) -> object:
    """Return what `@job` has left at a function; at all else there is nothing."""
    try:
        return getattr(value, "job", None)
    except RuntimeError:  # current_app and g, which a module may have imported, have no attributes without an app
        return None


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Read the parameters of a function, their annotations resolved."""
    hints = get_type_hints(function, include_extras=True)
    parameters = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) or name not in hints:
            raise TypeError(f"{function.__name__}: parameter {name} needs a name and a type")
        if name in RESERVED:
            raise TypeError(f"{function.__name__}: parameter {name} needs another name; a launch has this itself")
        parameters.append(parameter.replace(annotation=hints[name]))
    return parameters


def _field(function: str, parameter: inspect.Parameter) -> Field:
    """Make the input of a parameter, and check its default."""
    required = parameter.default is parameter.empty
    here = f"{function}: parameter {parameter.name}:"
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(parameter.annotation)
        default = None if required else adapter.dump_python(adapter.validate_python(parameter.default), mode="json")
        return field_of(parameter.name, adapter.json_schema(), required, default)
    except (NoForm, PydanticUserError):
        raise TypeError(f"{here} there is no form for {_name(parameter.annotation)}") from None
    except ValidationError as error:
        raise TypeError(f"{here} the default is wrong: {error.errors()[0]['msg']}") from None


def _cron(function: str, cron: str, parameters: list[inspect.Parameter]) -> str:
    """Check that a schedule can be followed."""
    if len(cron.split()) != 5 or not croniter.is_valid(cron):
        raise TypeError(f"{function}: {cron!r} is not a schedule like '30 2 * * 1' (minute hour day month weekday)")
    for parameter in parameters:
        if parameter.default is parameter.empty:
            raise TypeError(f"{function}: parameter {parameter.name} needs a default, since cron launches it by itself")
    return cron


def _name(annotation: Any) -> str:
    """Write a type as its author did."""
    annotation = getattr(annotation, "__origin__", annotation) if hasattr(annotation, "__metadata__") else annotation
    return annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)


def _model(function: str, parameters: list[inspect.Parameter]) -> type[BaseModel]:
    """Make the pydantic model of the parameters."""
    fields: dict[str, Any] = {
        parameter.name: (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
        for parameter in parameters
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a parameter may be called `copy` or `json`
        return create_model(function, __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)
