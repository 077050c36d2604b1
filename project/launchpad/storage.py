"""The file store: what is uploaded and what jobs return, below FILES_URL."""

import os
import re
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from math import inf
from time import time
from typing import IO, Any
from uuid import uuid4

from fsspec.core import url_to_fs

BLOCK = 8 * 1024**2  # bytes that S3 is sent, or asked for, at a time
MAX_NAME, MAX_SUFFIX = 150, 20  # bytes; most file systems allow 255
ABANDONED = 3600  # seconds after which what belongs to no job is removed: an upload may still be on its way
OPTIONS: dict[str, dict[str, Any]] = {
    "file": {"auto_mkdir": True},
    # By itself it would hold 50 MB of each file, remember listings of what others have long changed, and try for half
    # a minute whatever cannot be reached: botocore 4 times, and s3fs that 5 times.
    "s3": {
        "default_block_size": BLOCK,
        "use_listings_cache": False,
        "config_kwargs": {"retries": {"max_attempts": 0}},
    },
}


def safe_name(name: str) -> str:
    """Make a file's name harmless for every file system, terminal and header; letters of all alphabets stay."""
    name = unicodedata.normalize("NFC", re.split(r"[\\/]", name)[-1]).lstrip(". -~")
    name = "".join(letter if letter.isprintable() and letter not in '<>:"|?*' else "_" for letter in name)
    stem, suffix = os.path.splitext(name)
    if len(suffix.encode()) > MAX_SUFFIX:
        stem, suffix = name, ""
    name = (stem.encode()[: MAX_NAME - MAX_SUFFIX].decode(errors="ignore") + suffix).rstrip(". ")
    return re.sub(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(?=\.|$)", r"_\1", name) or "file"


class Store:
    """The files below a URL: in a folder, or in a bucket.

    A job's are in `<job id>/in/<parameter>/<number>`, which was uploaded, and in `<job id>/out/<name>`, which is its
    result. What is being uploaded, and has no job yet, is in a folder with a random name.
    """

    def __init__(self, url: str):
        self._url = url

    def at(self, path: str) -> tuple[Any, str]:
        """Answer fsspec's file system and what it calls this path."""
        # Each time, though fsspec remembers: the connections of one process are no use in one that it forks.
        scheme = self._url.partition("://")[0] if "://" in self._url else "file"
        fs, root = url_to_fs(self._url, **OPTIONS.get(scheme, {}))
        return fs, f"{root.rstrip('/')}/{path}"

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What is raised while the store cannot be reached, or is full."""
        if self._url.startswith("s3"):
            from botocore.exceptions import BotoCoreError

            return OSError, BotoCoreError
        return (OSError,)

    def open(self, path: str, mode: str = "rb", **options: Any) -> IO[Any]:
        """Open a file; one to be written is there as a whole at the earliest when it was closed."""
        fs, path = self.at(path)
        file: IO[Any] = fs.open(path, mode, **options)
        return file

    def size(self, path: str) -> int:
        """Tell the bytes of a file.

        Raises:
            FileNotFoundError: it is not there.
        """
        fs, path = self.at(path)
        return int(fs.size(path))

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it, if it is there."""
        fs, path = self.at(path)
        with suppress(FileNotFoundError):
            fs.rm(path, recursive=True)

    def give(self, id: str, place: str, upload: dict[str, Any]) -> dict[str, Any]:
        """Move an upload to a job, and answer what its arguments say of it."""
        fs, path = self.at(f"{upload['key']}/upload")
        fs.mv(path, self.at(f"{id}/in/{place}")[1])
        return {"name": upload["name"], "size": upload["size"]}

    def copy_inputs(self, id: str, new: str) -> None:
        """Copy the uploads of a job to another one, if it has any."""
        fs, source = self.at(f"{id}/in")
        for path in fs.find(source):
            copy = uuid4().hex
            fs.cp_file(path, self.at(f"{copy}/upload")[1])
            # In one step: another request may do the same, for a job that reads it already.
            fs.mv(self.at(f"{copy}/upload")[1], self.at(f"{new}/in/{path[len(source) + 1 :]}")[1])
            self.remove(copy)

    def sweep(self, exist: Callable[[list[str]], list[bool]], abandoned: float = ABANDONED) -> None:
        """Remove what belongs to no job (any more): of uploads that nobody launched, and of jobs that expired.

        Args:
            exist: tells which of these ids are those of jobs.
            abandoned: seconds for which nothing there may have changed.
        """
        fs, root = self.at("")
        if fs.exists(root):
            names = [path.rstrip("/").rpartition("/")[2] for path in fs.ls(root, detail=False)]
            ids = [name for name in names if re.fullmatch(r"[\w-]+", name)]  # and not lost+found
            for id in [id for id, exists in zip(ids, exist(ids), strict=True) if not exists]:
                if time() - self._changed(id) > abandoned:
                    self.remove(id)

    def _changed(self, id: str) -> float:
        """Tell when the newest file of a folder was written; one that we did not make counts as new for ever."""
        fs, path = self.at(id)
        found = fs.find(path, withdirs=True, detail=True)
        parts = {name[len(path) :].lstrip("/").partition("/")[0] for name in found}
        return max(map(_time, found.values())) if fs.isdir(path) and parts <= {"", "in", "out", "upload"} else inf


def _time(info: dict[str, Any]) -> float:
    """Tell when a file was written, or a folder changed; those of S3 have no time."""
    return float(info.get("mtime") or (info["LastModified"].timestamp() if info.get("LastModified") else 0))
