"""What the worker, its template process and the processes of jobs tell each other."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from launchpad.worker.memory import MemoryEnd
from launchpad.worker.processes import Usage


class Fork(NamedTuple):
    """Asks the template for a process: one that is kept for this function, or without a name a fresh one."""

    function: str


class Signal(NamedTuple):
    """Asks the template for a signal to a process; with SIGKILL all that it has started is killed, too."""

    pid: int
    number: int


class Watch(NamedTuple):
    """Asks the template to kill a process when it and all that it has started have more memory than this, in bytes."""

    pid: int
    limit: int


@dataclass
class Loaded:
    """Tells the worker that the functions are loaded: what has failed, and what it needs to know of them.

    Args:
        error: why they could not be loaded, in one line.
        sources: the files that they come from, each with its modification time in nanoseconds.
        threads: the names of the threads that the import has started.
        warm: the functions for which processes are kept.
        memory: the bytes that a run of a function may have, if there is a limit.
    """

    error: str = ""
    sources: dict[str, int] = field(default_factory=dict)
    threads: str = ""
    warm: frozenset[str] = frozenset()
    memory: dict[str, int] = field(default_factory=dict)


class Ready(NamedTuple):
    """Tells the worker of a process, whose connection follows; or, with the number 0, why there is none."""

    function: str
    pid: int
    error: str = ""


class Finished(NamedTuple):
    """Tells the worker that a run has ended in a process that is kept: its outcome, and what it used."""

    outcome: dict[str, Any]
    usage: Usage


@dataclass
class Ended:
    """Tells the worker that a process and all that it has started have ended: how, what it left, and what it used.

    Args:
        pid: the process.
        status: its exit status, as `os.waitpid` returns it.
        outcome: what the run has left; None, if it was killed, for one.
        usage: what all its runs have used.
        memory: whether memory was why it was killed.
        runs: how many runs have begun in it.
        has_begun: whether that which was handed to it last has; otherwise another process can run it.
    """

    pid: int
    status: int
    outcome: dict[str, Any] | None
    usage: Usage
    memory: MemoryEnd = MemoryEnd()  # noqa: RUF009 - it cannot change
    runs: int = 0
    has_begun: bool = True
