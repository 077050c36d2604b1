"""What Launchpad keeps for one Flask app: `app.extensions["launchpad"]`."""

from collections.abc import Mapping
from dataclasses import dataclass

from flask import current_app

from launchpad.functions.catalog import Function
from launchpad.queue.manager import JobManager
from launchpad.settings import Settings
from launchpad.web.cache import ResponseCache


@dataclass(frozen=True)
class State:
    """The settings, the functions and the jobs of one app, and the prefix below which its pages are."""

    settings: Settings
    functions: Mapping[str, Function]
    manager: JobManager
    cache: ResponseCache
    url_prefix: str


def state() -> State:
    """Return the state of the current app."""
    found: State = current_app.extensions["launchpad"]
    return found


def manager() -> JobManager:
    """Return the job manager of the current app."""
    return state().manager
