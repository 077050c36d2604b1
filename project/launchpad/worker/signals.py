"""The signals that tell a worker and its processes to end, and how they wait until those are ready for them."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

STOP = {signal.SIGINT, signal.SIGTERM}


@contextmanager
def blocked_signals() -> Iterator[None]:
    """Hold them back, also in a process that is forked meanwhile.

    It has the handlers of the worker until it installs its own; and what those raise is lost where others catch it, as
    logging does. The process would go on, and the worker wait for its end for ever.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock_signals() -> None:
    """Let them through, in a process that is ready."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
