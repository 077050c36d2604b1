"""Files in and out: what a function gets for one that was uploaded, and what it returns to have one downloaded."""

import io
import mimetypes
import os
from contextlib import suppress
from itertools import chain, count
from shutil import copyfileobj
from tempfile import mkdtemp
from typing import IO, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import PydanticCustomError, core_schema

from launchpad.storage import BLOCK, Store, safe_name

# A process runs one job at a time, so these are of one job.
_place: tuple[Store, str] | None = None
_names: set[str] = set()


def save_to(store: Store, id: str) -> None:
    """Keep the files that this process returns with this job; the runner calls it before the function."""
    global _place
    _place = store, id
    _names.clear()


def remove_saved() -> None:
    """Remove what this process has kept of a result that will not be one, if it can be done."""
    if _place is not None and _names:
        store, id = _place
        with suppress(*store.failures):
            store.remove(f"{id}/out")


class UploadedFile(io.BufferedReader):
    """A parameter of this type is an upload: a file that is open for reading bytes, seekable, with `name` and `size`.

    The name is made safe, the size is in bytes. Outside of a worker make one of a path or of an open file.
    """

    def __init__(self, file: str | os.PathLike[str] | IO[bytes], name: str = ""):
        raw: Any = open(file, "rb") if isinstance(file, str | os.PathLike) else file  # noqa: SIM115 - close() closes it
        super().__init__(raw)
        self._name = safe_name(name or str(getattr(raw, "name", "")))
        self.size = self.seek(0, os.SEEK_END)
        self.seek(0)

    @property
    def name(self) -> str:
        """The name that the file had where it came from, made safe."""
        return self._name

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        # As JSON Schema it is bytes, which what `Field` says of it can be added to.
        return core_schema.with_info_plain_validator_function(
            cls._check, json_schema_input_schema=core_schema.bytes_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"contentMediaType": "application/octet-stream"}

    @classmethod
    def _check(cls, value: Any, info: ValidationInfo) -> Any:
        # JSON cannot carry a file; a dict of Python is what `Upload.received` tells of one.
        if isinstance(value, cls) or (isinstance(value, dict) and info.mode == "python"):
            return value
        raise PydanticCustomError("file", "Input should be a file: a part with a filename, of multipart/form-data")


def take(store: Store, id: str, place: str, file: dict[str, Any]) -> UploadedFile:
    """Open a file that was uploaded to a job, for its function."""
    return UploadedFile(store.open(f"{id}/in/{place}"), file["name"])


class File:
    """A file to download: of a path, of bytes, of an open file; or of none of them, and then `open` writes it."""

    def __init__(self, source: Any = None, name: str = ""):
        known = source if isinstance(source, str | os.PathLike) else getattr(source, "name", "")
        self.source, self.name, self.path = source, safe_name(name or str(known) or type(self).__name__.lower()), ""
        self._opened: IO[Any] | None = None  # it has its place then, and its name is only its own

    def open(self, mode: str = "wb", **options: Any) -> IO[Any]:
        """Open it for writing, where it will stay; `path` tells where. Outside of a worker it is a temporary folder."""
        global _place
        store, id = _place = _place or (Store(mkdtemp()), "result")
        if self._opened is None:
            stem, suffix = os.path.splitext(self.name)
            names = chain([self.name], (f"{stem}-{number}{suffix}" for number in count(2)))
            self.name = next(name for name in names if name not in _names)
            _names.add(self.name)
        self.path = store.at(f"{id}/out/{self.name}")[1]
        self._opened = store.open(f"{id}/out/{self.name}", mode, **options)
        return self._opened

    def saved(self) -> dict[str, Any]:
        """Write it, if that is still to be done, and describe it."""
        if self.source is not None:
            with self.open() as out:
                copy(self.source, out)
        if _place is None or self._opened is None:
            raise TypeError(f"There is nothing in the File {self.name}: make it of a path, bytes or an open file.")
        self._opened.close()
        store, id = _place
        size = store.size(f"{id}/out/{self.name}")
        return {"name": self.name, "size": size, "media_type": media_type(self.name)}

    def describe(self, room: int) -> dict[str, Any]:
        """Describe it as the contract does."""
        return {"type": "file", "file": self.saved()}


def media_type(name: str) -> str:
    """Tell what is in a file with this name."""
    kind, packed = mimetypes.guess_type(name)
    return "application/octet-stream" if packed or not kind else kind


def copy(source: Any, out: Any) -> None:
    """Write a path, bytes, or an open file, binary or not, to another file."""
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            copyfileobj(file, out)
    elif hasattr(source, "read"):
        if source.seekable():
            source.seek(0)
        while data := source.read(BLOCK):
            out.write(data.encode() if isinstance(data, str) else data)
    elif isinstance(source, bytes | bytearray | memoryview):
        out.write(source)
    else:
        raise TypeError(f"A File is made of a path, of bytes or of an open file, and not of {type(source).__name__}.")
