"""The catalog: what `@job` makes of a function. Its signature is read once; form, API and worker follow from it."""

import asyncio
import inspect
import json
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType
from typing import Any, TypeVar, get_type_hints, overload

from croniter import croniter
from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError, create_model

from launchpad.functions.forms import Field, NoForm, field_of, read, type_name
from launchpad.functions.options import DAY, read_options

F = TypeVar("F", bound=Callable[..., Any])
DECORATED = "__launchpad_jobs__"  # the name by which a module holds all that it has decorated
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
    warm: bool
    memory: int | None
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

    def run(self, arguments: Mapping[str, Any]) -> Any:
        """Call the function with what it declares; an `async def` in a loop of its own."""
        result = self.call(**arguments)
        return asyncio.run(result) if inspect.iscoroutine(result) else result

    def _checked(self, validate: Callable[..., BaseModel], arguments: Any, **options: Any) -> dict[str, Any]:
        try:
            return validate(arguments, **options).model_dump(mode="json")
        except ValidationError as error:
            errors = [{"loc": list(item["loc"]), "msg": item["msg"]} for item in error.errors()]
            raise InvalidArguments(errors) from None


@overload
def job(function: F, /) -> F: ...


@overload
def job(
    *,
    timeout: int = 600,
    result_ttl: int = 7 * DAY,
    failure_ttl: int = 30 * DAY,
    retries: int = 0,
    title: str | None = None,
    cron: str | None = None,
    warm: bool = False,
    memory: str | None = None,
) -> Callable[[F], F]: ...


def job(
    function: F | None = None,
    /,
    *,
    timeout: int = 600,
    result_ttl: int = 7 * DAY,
    failure_ttl: int = 30 * DAY,
    retries: int = 0,
    title: str | None = None,
    cron: str | None = None,
    warm: bool = False,
    memory: str | None = None,
) -> Any:
    """Make a function one that can be launched; it stays the plain function that it is.

    Args:
        function: the function, where the decorator is written without parentheses.
        timeout: seconds after which it is ended, and has failed.
        result_ttl: seconds that a finished job and its result are kept; -1 for ever.
        failure_ttl: seconds that a failed one is kept.
        retries: how often it is tried again after a failure. 0 means that it runs at most once; above 0 it may also
            run twice when a worker is lost, so it must be idempotent.
        title: what the page calls it; otherwise its name, in words.
        cron: when it is launched by itself, with its defaults: "minute hour day month weekday", in the time zone of
            the worker, which in the containers is UTC.
        warm: whether a process of this function alone is kept for its next run, with all that its module holds; by
            default each run has a fresh process.
        memory: how much a run may take, like "2 GB"; on Linux.

    Raises:
        TypeError: it cannot be launched as it is, or an option is wrong; the message tells file, line and function.
    """
    chosen: dict[str, Any] = {
        "timeout": timeout,
        "result_ttl": result_ttl,
        "failure_ttl": failure_ttl,
        "retries": retries,
        "title": title,
        "cron": cron,
        "warm": warm,
        "memory": memory,
    }

    def decorate(function: F) -> F:
        try:
            launchable = _function(function, chosen)
        except TypeError as error:
            raise TypeError(f"{place_of(function)}{error}") from None
        function.job = launchable  # type: ignore[attr-defined]
        vars(sys.modules[function.__module__]).setdefault(DECORATED, []).append(launchable)
        return function

    return decorate if function is None else decorate(function)


def _function(function: Callable[..., Any], chosen: Mapping[str, Any]) -> Function:
    """Read all that there is to know of a function."""
    if not inspect.isfunction(function):
        raise TypeError(f"@job stands above a {type(function).__name__}: put it above a function")
    name = function.__name__
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{name}: it yields, and nobody would take what it does: return a list instead")
    options = read_options(name, chosen)
    parameters = _parameters(function)
    return Function(
        name=name,
        module=function.__module__,
        title=options.title or name.replace("_", " ").capitalize(),
        description=inspect.getdoc(function) or "",
        timeout=options.timeout,
        result_ttl=options.result_ttl,
        failure_ttl=options.failure_ttl,
        retries=options.retries,
        cron=_cron(name, options.cron, parameters) if options.cron else None,
        warm=options.warm,
        memory=options.memory,
        call=function,
        fields=[_field(name, parameter) for parameter in parameters],
        model=_model(name, parameters),
    )


def place_of(function: Any) -> str:
    """Tell where a function is: "jobs.py, line 12: "."""
    code = getattr(function, "__code__", None)
    return f"{Path(code.co_filename).name}, line {code.co_firstlineno}: " if code else ""


def collect(module: ModuleType) -> dict[str, Function]:
    """Return the functions of a module, or of all modules of a package, that are decorated with `@job`, by name.

    They are in the order of their definition.

    Raises:
        TypeError: two have the same name, or another decorator stands above `@job`, which would be skipped.
    """
    modules = [module]
    if path := getattr(module, "__path__", None):
        names = (found.name for found in walk_packages(path, f"{module.__name__}."))
        modules += [import_module(name) for name in names]
    found: dict[str, Function] = {}
    for function in (function for each in modules for function in _functions_in(each)):
        other = found.setdefault(function.name, function)
        if other is not function:
            raise TypeError(
                f"{place_of(function.call)}{function.name}: there is another one at {place_of(other.call)[:-2]}"
            )
    return found


def _functions_in(module: ModuleType) -> list[Function]:
    """Return the functions of a module, those that it has imported from others included."""
    found = [job for value in vars(module).values() if isinstance(job := _job_of(value), Function)]
    for function in vars(module).get(DECORATED, []):
        here = vars(module).get(function.name)
        if here is not function.call and function.call.__qualname__ == function.name:
            other = _job_of(here)
            again = isinstance(other, Function) and other.call is here
            why = "another one has this name" if again else "put @job above its other decorators"
            raise TypeError(f"{place_of(function.call)}{function.name}: {why}")
    return found


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
        raise TypeError(f"{here} there is no form for {type_name(parameter.annotation)}") from None
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


def _model(function: str, parameters: list[inspect.Parameter]) -> type[BaseModel]:
    """Make the pydantic model of the parameters."""
    fields: dict[str, Any] = {
        parameter.name: (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
        for parameter in parameters
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a parameter may be called `copy` or `json`
        return create_model(function, __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)
