"""Uploads: the files of a request go straight to the store, piece by piece, and stay there only if a job takes them."""

from contextlib import suppress
from typing import IO, Any
from uuid import uuid4

from flask import Response, g, request
from werkzeug.formparser import FormDataParser

from launchpad.storage import Store, safe_name
from launchpad.web.blueprint import bp
from launchpad.web.state import manager, state

# Of a body that is not a file: arguments are kept in Redis, in memory.
MAX_ARGUMENTS_BYTES = 16 * 1024 * 1024
# A body that is too large is read to its end, so that its sender hears so, up to this many times the limit.
HEAR_OUT_FACTOR = 10


class Upload:
    """A file on its way into the store, written piece by piece; file-like, as far as werkzeug wants it."""

    def __init__(self, store: Store, filename: str):
        self.key = uuid4().hex
        self._store, self._filename = store, filename
        self._file: IO[bytes] | None = None
        self._size = 0

    def write(self, data: bytes) -> None:
        """Take the next piece."""
        if self._file is None and (data or self._filename):
            self._file = self._store.open(f"{self.key}/upload", "wb")
        if self._file is not None:
            self._file.write(data)
            self._size += len(data)

    def seek(self, *_: int) -> None:
        """End it: werkzeug rewinds a file when it has written the last of it."""
        self.write(b"")
        self.close()

    def close(self) -> None:
        """Take no more."""
        if self._file is not None:
            self._file.close()

    def received(self) -> dict[str, Any] | str:
        """Tell what has come, as an argument; "" is what a browser sends where no file was chosen."""
        if self._file is None:
            return ""
        return {"name": safe_name(self._filename), "size": self._size, "key": self.key}

    def discard(self) -> None:
        """Remove it, if no job has taken it."""
        with suppress(*self._store.failures):  # where the store is full, for what was not written yet
            self.close()
        with suppress(*self._store.failures):  # then the sweep does it
            if self._file is not None:
                self._store.remove(self.key)


def read_form() -> dict[str, list[Any]]:
    """Return the parts of a form by name: texts, and of each file what `Upload.received` tells.

    Raises:
        RequestEntityTooLarge: the body, or what of it is not a file, is larger than allowed.
    """
    parser = FormDataParser(
        stream_factory=_open_upload,
        max_form_memory_size=request.max_form_memory_size,
        max_content_length=request.max_content_length,
        max_form_parts=request.max_form_parts,
    )
    _, texts, files = parser.parse_from_environ(request.environ)
    form: dict[str, list[Any]] = texts.to_dict(flat=False)
    for name, file in files.items(multi=True):
        form.setdefault(name, []).append(file.stream.received())  # type: ignore[attr-defined]
    return form


def _open_upload(
    total_content_length: int | None,
    content_type: str | None,
    filename: str | None,
    content_length: int | None = None,
) -> Any:
    g.setdefault("launchpad_uploads", []).append(upload := Upload(manager().files, filename or ""))
    return upload


@bp.before_request
def set_limits() -> None:
    """Limit what is sent to us; an app has limits of its own for its own views."""
    request.max_content_length = state().settings.max_upload_mb * 1024**2
    request.max_form_memory_size = MAX_ARGUMENTS_BYTES


@bp.teardown_request
def discard_uploads(error: BaseException | None) -> None:
    """Remove the uploads that no job has taken."""
    for upload in g.pop("launchpad_uploads", []):
        upload.discard()


@bp.after_request
def hear_out(response: Response) -> Response:
    """Read on what is too large: whoever is cut off in the middle of sending sees no answer.

    Flask's own server does not say where the body ends.
    """
    if response.status_code == 413 and request.environ.get("wsgi.input_terminated"):
        rest = HEAR_OUT_FACTOR * (request.max_content_length or 0)
        while rest > 0 and (data := request.environ["wsgi.input"].read(2**16)):
            rest -= len(data)
    return response
