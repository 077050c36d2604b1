"""What the worker and its template process tell each other."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from launchpad.worker.memory import MemoryEnd
from launchpad.worker.processes import Usage


class Run(NamedTuple):
    """Asks for a process for a run: its id, the function, and the state of RQ's job."""

    id: str
    function: str
    state: dict[str, Any]


class Signal(NamedTuple):
    """Asks for a signal to the process of the job; with SIGKILL all that it has started is killed, too."""

    number: int


@dataclass
class Loaded:
    """Tells that the functions are loaded: what has failed, from which files, and which threads they have started.

    Of each file its modification time, in nanoseconds.
    """

    error: str = ""
    sources: dict[str, int] = field(default_factory=dict)
    threads: str = ""


class Started(NamedTuple):
    """Tells the process of a job."""

    pid: int


@dataclass
class Ended:
    """Tells that a process and all that it has started have ended: how, what it left, and what it used."""

    status: int
    outcome: dict[str, Any] | None
    usage: Usage
    memory: MemoryEnd = MemoryEnd()  # noqa: RUF009 - it cannot change
