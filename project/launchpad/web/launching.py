"""What a request to launch a job says: as JSON, or as a form that may hold files."""

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from flask import request
from werkzeug.exceptions import BadRequest, NotFound, RequestEntityTooLarge, UnsupportedMediaType

from launchpad.encoding import replace_surrogates
from launchpad.functions.catalog import Function, InvalidArguments
from launchpad.web.state import manager
from launchpad.web.uploads import MAX_ARGUMENTS_BYTES, read_form


class Launch(NamedTuple):
    """A function with checked arguments, and the time at which it is to run, if that is not now."""

    function: Function
    arguments: dict[str, Any]
    at: datetime | None


def read_launch() -> Launch:
    """Return what the current request asks for.

    Raises:
        HTTPException: it cannot be read, is too large, or names no function.
        InvalidArguments: the function does not take these arguments, or the time is none.
    """
    return _read_form() if request.mimetype == "multipart/form-data" else _read_json()


def _read_form() -> Launch:
    form = read_form()
    name, at = form.pop("function", [""])[0], form.pop("scheduled_at", [""])[0]
    if not (name and isinstance(name, str) and isinstance(at, str)):  # they are not files
        raise BadRequest("Send a part `function`, and one for each argument.")
    function = find_function(name)
    return Launch(function, function.parse_form(form), time_of(at))


def _read_json() -> Launch:
    match _loads(_body()):
        case {"function": str(name), **rest} if rest.keys() <= {"arguments", "scheduled_at"}:
            match rest.get("arguments", {}), rest.get("scheduled_at"):
                case dict(arguments), None | str() as at if at != "":
                    function = find_function(name)
                    return Launch(function, function.parse(arguments), time_of(at))
    raise BadRequest('Send {"function": "name", "arguments": {…}}, and "scheduled_at": "a time" for later.')


def find_function(name: str) -> Function:
    """Return a function of the catalog, or raise NotFound."""
    if name not in manager().functions:
        raise NotFound(f"There is no function {replace_surrogates(name[:100])}.")
    return manager().functions[name]


def time_of(text: str | None) -> datetime | None:
    """Read the time of a launch; without an offset it is UTC.

    Raises:
        InvalidArguments: it is no ISO 8601 time.
    """
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        errors = [{"loc": ["scheduled_at"], "msg": "Input should be a time like 2026-11-22T10:00:00+00:00"}]
        raise InvalidArguments(errors) from None


def _body() -> bytes:
    request.max_content_length = MAX_ARGUMENTS_BYTES
    # A body whose length is not told beforehand is read up to the limit, and cut there.
    if (request.content_length or 0) > MAX_ARGUMENTS_BYTES or len(data := request.get_data()) == MAX_ARGUMENTS_BYTES:
        raise RequestEntityTooLarge(f"Arguments may have up to {MAX_ARGUMENTS_BYTES // 1024**2} MB.")
    if not request.is_json and data:
        raise UnsupportedMediaType("Send application/json or multipart/form-data.")
    return data


def _loads(data: bytes) -> Any:
    try:
        return json.loads(data, parse_float=_number, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The body is not JSON: {error}"[:300]) from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _number(text: str) -> int | float:
    """Read a number; JSON has one kind of them, in which 3.0 is the integer 3."""
    number = float(text)
    return int(number) if number.is_integer() else number
