"""The folder for temporary files that each process of jobs has to itself; nothing of it is left, however the run ends.

The template removes it. Where that was killed itself, as when a machine goes, the next template does, of whichever
worker: a folder is in use as long as somebody holds its lock, which no kill outlives. It also kills what the run has
started, if it goes on: what was executed has the folder in its environment, what was only forked has its name.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from launchpad.worker import processes

PREFIX = "launchpad-job-"  # who shares the folder for temporary files may have a job-1 there
VARIABLES = ("TMPDIR", "HOME")  # of a run's environment, which have its folder


class RunFolder:
    """A new folder, which is in use until it is removed.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self) -> None:
        while True:
            self.path = tempfile.mkdtemp(prefix=PREFIX)
            self.lock = _open(self.path)
            fcntl.flock(self.lock, fcntl.LOCK_EX)
            if os.path.exists(self.path):
                return
            os.close(self.lock)  # another worker was faster, and has taken it for a leftover

    def enter(self) -> None:
        """Let this process, and all that it starts, have the folder for temporary files."""
        os.environ |= dict.fromkeys(VARIABLES, self.path)
        tempfile.tempdir = self.path
        processes.mark(_mark_of(self.path))

    def clear(self) -> None:
        """Remove what is in it."""
        for entry in os.scandir(self.path):
            with suppress(OSError):
                remove(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)

    def remove(self) -> None:
        """Remove it, with all that is in it."""
        remove(self.path)
        os.close(self.lock)


def remove_leftovers() -> None:
    """Remove the folders of runs whose worker has gone."""
    for folder in map(str, Path(tempfile.gettempdir()).glob(f"{PREFIX}*")):
        with suppress(OSError):  # it has just gone, is in use, or is another user's
            lock = _open(folder)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(lock).st_uid == os.geteuid():
                    processes.kill_marked(_mark_of(folder), {f"{name}={folder}" for name in VARIABLES})
                    remove(folder)
            finally:
                os.close(lock)


def _mark_of(folder: str) -> str:
    return "job-" + os.path.basename(folder).removeprefix(PREFIX)[:11]  # Linux allows 15 characters


def remove(folder: str) -> None:
    """Remove a folder, also where a job has taken the right to do so away, as some caches do."""
    with suppress(OSError):
        os.rmdir(folder)  # most are empty
        return
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        if os.path.exists(folder):
            _permit(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _permit(folder: str) -> None:
    os.chmod(folder, 0o700)
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            _permit(entry.path)


def _open(folder: str) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
