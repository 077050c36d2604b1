"""What all peers run; with HEAVY set, in a module that imports what a data scientist's does."""

import os
import signal

if os.environ.get("HEAVY"):
    import pandas  # noqa: F401


def noop():
    return 1  # huey does not keep a result of None


def crash():
    os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory is short
