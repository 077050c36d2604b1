"""Mistakes in the owner's functions, each told in one line: file, line, function, what is wrong and what to do.

Whoever starts something raises it last, so that the line is the last one on the terminal, below the traceback; a worker
that cannot load the functions fails the jobs with it.
"""

import ast
import os
import sys
import sysconfig
import traceback
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

ENGINE = str(Path(__file__).parents[1])
LIBRARIES = (ENGINE, sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))


class Mistake(TypeError):
    """Functions that cannot be launched as they are; the message is one line for their author."""

    __module__ = "launchpad"  # as a traceback names it


def load(name: str) -> ModuleType:
    """Import the module, or the package, with the owner's functions.

    Raises:
        Mistake: it cannot be imported.
    """
    try:
        return import_module(name)
    except Mistake:
        raise
    except (Exception, SystemExit) as error:  # whatever the owner's modules do
        raise Mistake(one_line(error)) from error


def one_line(error: BaseException) -> str:
    """Write an error in one line: where in the owner's files it comes from, what it is, and what to do."""
    if isinstance(error, Mistake):
        return str(error)
    if isinstance(error, SyntaxError) and error.filename and error.lineno and _is_owners(error.filename):
        return f"{place(error.filename, error.lineno)}{type(error).__name__}: {error.msg}: correct this line"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_owners(frame.filename)]
    if not frames:
        return _description(error)
    file, line, name = frames[-1].filename, frames[-1].lineno or 1, frames[-1].name
    function = _function_at(file, line) if name == "<module>" else name
    return f"{place(file, line)}{f'{function}: ' if function else ''}{_description(error)}: {_remedy(error)}"


def place(file: str, line: int) -> str:
    """Write a place, the file as it is imported: "jobs.py, line 12: "."""
    folders = sorted((os.path.abspath(folder) + os.sep for folder in sys.path), key=len, reverse=True)
    shown = next((file.removeprefix(folder) for folder in folders if file.startswith(folder)), Path(file).name)
    return f"{shown}, line {line}: "


def place_of(function: Any) -> str:
    """Write the place of a function; nothing where it has none, as one that is built in."""
    code = getattr(function, "__code__", None)
    return place(code.co_filename, code.co_firstlineno) if code else ""


def _is_owners(file: str) -> bool:
    is_library = file.startswith(LIBRARIES) or "/site-packages/" in file or "/dist-packages/" in file
    return file.endswith(".py") and not is_library


def _function_at(file: str, line: int) -> str:
    """Return the name of the function that has this line, as in its decorators or its default values."""
    for node in ast.walk(ast.parse(Path(file).read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            if first <= line <= (node.end_lineno or line):
                return node.name
    return ""


def _description(error: BaseException) -> str:
    if _is_missing_package(error):
        return f"there is no module {error.name}"  # type: ignore[attr-defined]
    return f"{type(error).__name__}: {' '.join(str(error).split()).rstrip('.')}"


def _remedy(error: BaseException) -> str:
    if _is_missing_package(error):
        return "name its package in requirements.in, then run `make requirements`"
    return "correct this line"


def _is_missing_package(error: BaseException) -> bool:
    """Tell whether a package is missing, and not a module in one that is there."""
    return isinstance(error, ModuleNotFoundError) and bool(error.name) and not _is_there(str(error.name))


def _is_there(module: str) -> bool:
    package = module.partition(".")[0]
    return package in sys.modules or find_spec(package) is not None
