"""What is true of every function in jobs.py, whatever it does. The tests of what yours do stand beside this file."""

import pytest
from flask import Flask

import jobs
from launchpad.functions.catalog import Function, InvalidArguments, collect

of_each = pytest.mark.parametrize("function", collect(jobs).values(), ids=collect(jobs))


def address(app: Flask, path: str) -> str:
    """An address of Launchpad, below the prefix that it has in your app."""
    prefix: str = app.extensions["launchpad"].url_prefix
    return prefix + path


def missing(function: Function) -> list[str]:
    """The parameters that must be given."""
    return [field.name for field in function.fields if field.required]


@of_each
def test_its_form_is_shown(app: Flask, function: Function) -> None:
    page = app.test_client().get(address(app, f"/launch/{function.name}"))
    assert page.status_code == 200
    for field in function.fields:
        assert f'name="{field.name}"' in page.text


@of_each
def test_it_is_launched_when_all_that_it_needs_is_given(app: Flask, function: Function) -> None:
    answer = app.test_client().post(address(app, "/api/jobs"), json={"function": function.name})
    if missing(function):
        assert answer.status_code == 422
        assert {error["loc"][0] for error in answer.json["errors"]} == {*missing(function)}
    else:
        assert answer.status_code == 202, answer.text
        assert answer.json["state"] in ("queued", "scheduled")


@of_each
def test_the_terminal_has_a_command_for_it(app: Flask, function: Function) -> None:
    done = app.test_cli_runner().invoke(args=["launch", function.name.replace("_", "-"), "--help"])
    assert done.exit_code == 0, done.output


@of_each
def test_an_unknown_argument_is_refused(function: Function) -> None:
    with pytest.raises(InvalidArguments):
        function.parse({"surely not a parameter": 1})


def test_your_app_serves_what_jobs_py_has(app: Flask) -> None:
    listed = app.test_client().get(address(app, "/api/functions")).json["functions"]
    assert [function["name"] for function in listed] == [*collect(jobs)]
