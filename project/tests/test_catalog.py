"""What `@job` makes of a function: its inputs, its checks, its types."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from types import ModuleType
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

import jobs
from launchpad.functions.catalog import Function, InvalidArguments, collect, job

HERE = r"^test_catalog.py, line \d+: "


def decorated(function: Any, **options: Any) -> Function:
    launchable: Function = job(**options)(function).job
    return launchable


def test_a_function_stays_the_plain_function_it_is() -> None:
    assert jobs.count_words("a b a") == {"a": 2, "b": 1}


def test_only_decorated_functions_are_launchable() -> None:
    module = ModuleType("example")
    module.private, module.public = len, job()(lambda: None)  # type: ignore[attr-defined]
    assert list(collect(module)) == ["<lambda>"]
    assert list(collect(jobs)) == ["wait", "count_words", "flaky", "mandelbrot", "profile_csv"]


def test_a_title_and_a_description_come_from_the_function() -> None:
    def send_all_letters(to: str) -> None:
        """Send letters."""

    assert decorated(send_all_letters).title == "Send all letters"
    assert decorated(send_all_letters).description == "Send letters."
    assert decorated(send_all_letters, title="Post").title == "Post"


def test_the_inputs_follow_from_the_types() -> None:
    def mix(
        count: Annotated[int, Field(ge=1, le=9, description="How many.")],
        name: Annotated[str, Field(max_length=20)] = "x",
        text: str = "",
        share: float = 0.5,
        loud: bool = True,
    ) -> None: ...

    fields = decorated(mix).fields
    assert [(field.name, field.kind, field.required, field.default) for field in fields] == [
        ("count", "number", True, ""),
        ("name", "text", False, "x"),
        ("text", "textarea", False, ""),
        ("share", "number", False, "0.5"),
        ("loud", "checkbox", False, "true"),
    ]
    assert fields[0].attributes == {"step": 1, "min": 1, "max": 9}
    assert fields[0].help == "How many."


def test_a_type_without_a_form_stops_the_start_in_one_line() -> None:
    def render(scene: dict[str, int]) -> None: ...

    def shift(at: bytes) -> None: ...

    with pytest.raises(TypeError, match=HERE + r"render: parameter scene: there is no form for dict\[str, int\]: take"):
        decorated(render)
    with pytest.raises(TypeError, match=HERE + r"shift: parameter at: there is no form for bytes: take"):
        decorated(shift)


def test_a_parameter_needs_a_type_and_a_name() -> None:
    def untyped(x) -> None: ...  # type: ignore[no-untyped-def]

    def many(*x: int) -> None: ...

    def reserved(function: str) -> None: ...

    with pytest.raises(TypeError, match=HERE + r"reserved: parameter function needs another name"):
        decorated(reserved)
    for function in (untyped, many):
        with pytest.raises(TypeError, match=HERE + rf"{function.__name__}: parameter x needs"):
            decorated(function)


def test_an_unknown_option_fails_at_import() -> None:
    def wait() -> None: ...

    with pytest.raises(TypeError, match=HERE + "wait: there is no option retry: take one of timeout, .*, retries, "):
        job(retry=3)(wait)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retries": -1}, "option retries: Input should be greater than or equal to 0"),
        ({"timeout": "soon"}, "option timeout: Input should be a valid integer"),
        ({"warm": "yes"}, "option warm: Input should be a valid boolean"),
        ({"memory": "much"}, 'option memory: an amount is written like "2 GB" or "512 MB"'),
        ({"memory": "1 MB"}, "option memory: Python itself needs 50 MB"),
    ],
)
def test_a_wrong_option_stops_the_start_in_one_line(options: dict[str, Any], said: str) -> None:
    def wait() -> None: ...

    with pytest.raises(TypeError) as stop:
        job(**options)(wait)
    assert re.fullmatch(HERE + f"wait: {re.escape(said)}", str(stop.value))


def test_an_amount_of_memory_has_the_usual_units() -> None:
    def wait() -> None: ...

    amounts = {"200 MB": 200_000_000, "2GB": 2_000_000_000, "1.5 gib": 3 * 2**29, "512 MiB": 2**29}
    assert {text: decorated(wait, memory=text).memory for text in amounts} == amounts
    assert decorated(wait).memory is None


def test_a_function_that_yields_or_is_none_stops_the_start() -> None:
    def count() -> Iterator[int]:
        yield 1

    async def count_later() -> AsyncIterator[int]:
        yield 1

    for function in (count, count_later):
        with pytest.raises(TypeError, match=rf"line \d+: {function.__name__}: it yields"):
            decorated(function)
    with pytest.raises(TypeError, match=HERE + "Colour: @job stands above a class: put it above a function$"):
        decorated(Colour)


def test_an_async_function_runs_in_a_loop_of_its_own() -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    with ThreadPoolExecutor() as pool:  # the browser of other tests has left a loop in this thread
        assert pool.submit(decorated(double).run, {"number": 2}).result() == 4


def module_of(code: str) -> ModuleType:
    """Make a module of jobs, as an import does."""
    module = ModuleType("made_for_a_test")
    sys.modules[module.__name__] = module
    try:
        exec(
            compile("from functools import cache\nfrom launchpad import job\n" + code, "made.py", "exec"), vars(module)
        )
    finally:
        del sys.modules[module.__name__]
    return module


def test_a_decorator_above_job_stops_the_start_instead_of_being_skipped() -> None:
    with pytest.raises(TypeError, match="^made.py, line 3: wait: put @job above its other decorators$"):
        collect(module_of("@cache\n@job()\ndef wait() -> None: ...\n"))


def test_two_functions_of_one_name_stop_the_start() -> None:
    said = "made.py, line 3: wait: another one has this name (made.py, line 5): rename one of them"
    with pytest.raises(TypeError, match=f"^{re.escape(said)}$"):
        collect(module_of("@job()\ndef wait() -> None: ...\n@job()\ndef wait(seconds: int) -> None: ...\n"))


def test_parameters_may_have_the_names_of_pydantic_methods() -> None:
    def export(copy: bool, json: str = "a") -> tuple[bool, str]:
        return copy, json

    function = decorated(export)
    assert function.call(**function.typed(function.parse({"copy": True}))) == (True, "a")


def test_forms_give_strings_and_json_gives_types() -> None:
    wait = collect(jobs)["wait"]
    assert wait.parse_form({"num_iterations": ["3"]}) == wait.parse({"num_iterations": 3}) == {"num_iterations": 3}
    assert wait.parse_form({"num_iterations": [""]}) == wait.parse({}) == {"num_iterations": 15}
    with pytest.raises(InvalidArguments):
        wait.parse({"num_iterations": "3"})


def test_a_wrong_default_stops_the_start() -> None:
    def wait(seconds: Annotated[int, Field(ge=1)] = 0) -> None: ...

    with pytest.raises(TypeError, match=HERE + r"wait: parameter seconds: the default"):
        decorated(wait)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


def everything(
    count: int,
    share: Annotated[float, Field(gt=0, le=1)],
    name: Annotated[str, Field(max_length=20)],
    day: date,
    at: datetime,
    price: Decimal,
    size: Literal["S", "M", 3],
    colour: Colour,
    tags: list[str],
    colours: list[Colour],
    days: list[date],
    loud: bool = False,
    limit: int | None = None,
    quiet: bool | None = None,
) -> dict[str, Any]:
    return dict(locals())


TYPED = {
    "count": 3,
    "share": 0.5,
    "name": "ada",
    "day": date(2026, 11, 22),
    "at": datetime(2026, 11, 22, 10, 30, tzinfo=UTC),
    "price": Decimal("9.90"),
    "size": 3,
    "colour": Colour.BLUE,
    "tags": ["a", "b c"],
    "colours": [Colour.RED, Colour.BLUE],
    "days": [date(2026, 1, 1)],
    "loud": True,
    "limit": None,
    "quiet": False,
}
JSON = TYPED | {
    "day": "2026-11-22",
    "at": "2026-11-22T10:30:00Z",
    "price": "9.90",
    "colour": "blue",
    "colours": ["red", "blue"],
    "days": ["2026-01-01"],
}
FORM = {
    "count": ["3"],
    "share": ["0.5"],
    "name": ["ada"],
    "day": ["2026-11-22"],
    "at": ["2026-11-22T10:30:00Z"],
    "price": ["9.90"],
    "size": ["3"],
    "colour": ["blue"],
    "tags": ["a\r\nb c\r\n\r\n"],
    "colours": ["", "red", "blue"],
    "days": ["2026-01-01"],
    "loud": ["false", "true"],
    "limit": [""],
    "quiet": ["false"],
}


def test_arguments_arrive_as_the_declared_types_from_json_and_from_a_form() -> None:
    function = decorated(everything)
    for parsed in (function.parse(JSON), function.parse_form(FORM)):
        assert parsed == JSON
        assert function.call(**function.typed(parsed)) == TYPED


def test_each_type_has_its_input() -> None:
    fields = {field.name: field for field in decorated(everything).fields}
    assert {name: field.kind for name, field in fields.items()} == {
        "count": "number",
        "share": "number",
        "name": "text",
        "day": "date",
        "at": "datetime-local",
        "price": "number",
        "size": "select",
        "colour": "select",
        "tags": "lines",
        "colours": "choices",
        "days": "lines",
        "loud": "checkbox",
        "limit": "number",
        "quiet": "select",
    }
    assert fields["share"].attributes == {"step": "any", "min": 0, "max": 1}
    assert fields["colours"].choices == ("red", "blue")
    assert [name for name, field in fields.items() if not field.required] == ["loud", "limit", "quiet"]


def test_an_input_that_was_cleared_means_nothing_or_the_default() -> None:
    def greet(name: str = "world", times: int = 2, limit: int | None = 5) -> None: ...

    function = decorated(greet)
    cleared = {"name": [""], "times": [""], "limit": [""]}
    assert function.parse_form(cleared) == {"name": "", "times": 2, "limit": None}
    assert function.parse_form({}) == {"name": "world", "times": 2, "limit": 5}


@pytest.mark.parametrize(
    ("name", "value"),
    [("count", "x"), ("share", "0"), ("share", "nan"), ("day", "2026-02-30"), ("size", "L"), ("colours", "green"),
     ("days", "soon"), ("price", "x"), ("name", "x" * 21), ("count", ""), ("unknown", "1")],
)  # fmt: skip
def test_a_wrong_input_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidArguments) as refused:
        decorated(everything).parse_form(FORM | {name: [value]})
    assert refused.value.errors[0]["loc"][0] == name


def test_strict_json_does_not_guess() -> None:
    for wrong in ({"count": "3"}, {"count": 3.5}, {"loud": 1}, {"name": 3}, {"tags": "a"}):
        with pytest.raises(InvalidArguments):
            decorated(everything).parse(JSON | wrong)
