"""The catalog: what `@job` makes of a function. Its signature is read once; form, API and worker follow from it."""

import asyncio
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pkgutil import walk_packages
from types import ModuleType
from typing import Any, TypeVar, overload

from pydantic import BaseModel, ValidationError

from launchpad.functions.forms import Field, read
from launchpad.functions.mistakes import Mistake, load, place, place_of
from launchpad.functions.options import DAY, read_options
from launchpad.functions.signature import check_cron, field_of, model_of, read_parameters

F = TypeVar("F", bound=Callable[..., Any])
DECORATED = "__launchpad_jobs__"  # the name by which a module holds all that it has decorated


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
        names = [field.name for field in self.fields if field.kind == "file" and arguments.get(field.name)]

        def changed(place: str, file: Any) -> Any:  # of before the function was changed it may be anything
            return change(place, file) if isinstance(file, dict) else file

        return arguments | {
            name: [changed(f"{name}/{i}", file) for i, file in enumerate(given)]
            if isinstance(given := arguments[name], list)
            else changed(f"{name}/0", given)
            for name in names
        }

    def typed(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Turn the JSON that `parse` answered, with files opened, into what the function declares.

        Raises:
            InvalidArguments: the function has changed since.
        """
        try:
            model = self.model.model_validate(arguments)
        except ValidationError as error:
            raise _invalid(error) from None
        return {name: getattr(model, name) for name in type(model).model_fields}

    def run(self, arguments: Mapping[str, Any]) -> Any:
        """Call the function with what it declares; an `async def` in a loop of its own."""
        result = self.call(**arguments)
        return asyncio.run(result) if inspect.iscoroutine(result) else result

    def _checked(self, validate: Callable[..., BaseModel], arguments: Any, **options: Any) -> dict[str, Any]:
        try:
            return validate(arguments, **options).model_dump(mode="json")
        except ValidationError as error:
            raise _invalid(error) from None


def _invalid(error: ValidationError) -> InvalidArguments:
    return InvalidArguments([{"loc": list(item["loc"]), "msg": item["msg"]} for item in error.errors()])


@overload
def job(function: F, /) -> F: ...


@overload
def job(
    *,
    timeout: int = ...,
    result_ttl: int = ...,
    failure_ttl: int = ...,
    retries: int = ...,
    title: str | None = ...,
    cron: str | None = ...,
    warm: bool = ...,
    memory: str | None = ...,
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
    **unknown: Any,
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
        Mistake: it cannot be launched as it is, or an option is wrong; the message tells file, line and function.
    """
    chosen: dict[str, Any] = {
        **unknown,
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
        except Exception as error:  # a hint may be any expression
            frame = sys._getframe(1)
            here = place_of(function) or place(frame.f_code.co_filename, frame.f_lineno)
            raise Mistake(f"{here}{' '.join(str(error).split())}") from None
        function.job = launchable  # type: ignore[attr-defined]
        function.__globals__.setdefault(DECORATED, []).append(launchable)
        return function

    return decorate if function is None else decorate(function)


def _function(function: Callable[..., Any], chosen: Mapping[str, Any]) -> Function:
    """Read all that there is to know of a function."""
    if not inspect.isfunction(function):
        kind = "class" if isinstance(function, type) else type(function).__name__
        name = f"{function.__name__}: " if hasattr(function, "__name__") else ""
        raise TypeError(f"{name}@job stands above a {kind}: put it above a function")
    name = function.__name__
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{name}: it yields, and nobody would take what it does: return a list instead")
    options = read_options(name, chosen)
    parameters = read_parameters(function)
    return Function(
        name=name,
        module=function.__module__,
        title=options.title or name.replace("_", " ").capitalize(),
        description=inspect.getdoc(function) or "",
        timeout=options.timeout,
        result_ttl=options.result_ttl,
        failure_ttl=options.failure_ttl,
        retries=options.retries,
        cron=check_cron(name, options.cron, parameters) if options.cron else None,
        warm=options.warm,
        memory=options.memory,
        call=function,
        fields=[field_of(name, parameter) for parameter in parameters],
        model=model_of(name, parameters),
    )


def collect(module: ModuleType) -> dict[str, Function]:
    """Return the functions of a module, or of all modules of a package, that are decorated with `@job`, by name.

    They are in the order of their definition.

    Raises:
        Mistake: two have the same name, or another decorator stands above `@job`, which would be skipped.
    """
    modules = [module]
    if path := getattr(module, "__path__", None):
        names = (found.name for found in walk_packages(path, f"{module.__name__}."))
        modules += [load(name) for name in names]
    found: dict[str, Function] = {}
    for function in (function for each in modules for function in _functions_in(each)):
        other = found.setdefault(function.name, function)
        if other is not function:
            raise _same_name(function, other)
    return found


def _functions_in(module: ModuleType) -> list[Function]:
    """Return the functions of a module, those that it has imported from others included."""
    found = [job for value in vars(module).values() if isinstance(job := _job_of(value), Function)]
    for function in vars(module).get(DECORATED, []):
        here = vars(module).get(function.name)
        if here is not function.call and function.call.__qualname__ == function.name:
            other = _job_of(here)
            if isinstance(other, Function) and other.call is here:
                raise _same_name(function, other)
            raise Mistake(f"{place_of(function.call)}{function.name}: put @job above its other decorators")
    return found


def _same_name(function: Function, other: Function) -> Mistake:
    where = place_of(other.call).removesuffix(": ")
    return Mistake(f"{place_of(function.call)}{function.name}: another one has this name ({where}): rename one of them")


def _job_of(value: object) -> object:
    """Return what `@job` has left at a function; at all else there is nothing."""
    try:
        return getattr(value, "job", None)
    except RuntimeError:  # current_app and g, which a module may have imported, have no attributes without an app
        return None
