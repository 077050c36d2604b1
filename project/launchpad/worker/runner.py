"""What surrounds a function in the worker. RQ calls `run`, and `run` calls the function."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from rq import get_current_job

from launchpad.functions import files, progress
from launchpad.functions.catalog import Function, InvalidArguments
from launchpad.functions.mistakes import Mistake, place_of
from launchpad.functions.results import result_of
from launchpad.storage import Store
from launchpad.worker import log_capture as log
from launchpad.worker.application import application, functions


def run(module: str, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Run a function of the catalog with arguments that came as JSON, and answer its result as the contract has it.

    It runs in an application context of its own, which has ended when the job has. The app was
    made in the template, before this process was forked.

    Raises:
        Mistake: the app cannot be made, or the function takes other arguments now.
        LookupError: the function is no longer in the catalog.
        TypeError: it returned what cannot be a result.
        Exception: whatever the function raises.
    """
    if (job := get_current_job()) is None:
        return _call(module, function, arguments, lambda *file: file[-1])
    with log.captured(job), ExitStack() as opened:
        progress.report_to(job)
        try:
            store = Store(application().extensions["launchpad"].settings.files_url)
            files.save_to(store, job.id)
            return _call(
                module, function, arguments, lambda *file: opened.enter_context(files.take(store, job.id, *file))
            )
        except BaseException:
            files.remove_saved()  # nobody will ask for a part of a result, and the store may be full
            raise
        finally:
            progress.save()  # of bars that nobody has closed


def load() -> None:
    """Load the functions, in the template: no process of a job has to, then.

    Raises:
        Mistake: the app, which has them, cannot be made.
    """
    application()


def _call(module: str, function: str, arguments: dict[str, Any], take: Callable[[str, Any], Any]) -> dict[str, Any]:
    # Only the app is asked for its functions; the module is just a name that came from Redis.
    called = functions().get(function)
    if called is None or called.module != module:
        raise LookupError(f"{module}.py has no function {function} with @job (any more)")
    with application().app_context():
        return result_of(called.run(_typed(called, arguments, take)))


def _typed(function: Function, arguments: dict[str, Any], take: Callable[[str, Any], Any]) -> dict[str, Any]:
    try:
        return function.typed(function.with_files(arguments, take))
    except InvalidArguments as error:
        raise Mistake(
            f"{place_of(function.call)}{function.name}: it was changed while this job waited, and does not take its "
            f"arguments any more ({error}): launch it again"
        ) from None
