"""Uploads: the files of a request go straight to the store, piece by piece, and stay there only if a job takes them."""

from contextlib import suppress
from typing import IO, Any
from uuid import uuid4

from flask import Flask, Response, current_app, request
from flask import Request as FlaskRequest

from launchpad.store import Store, safe_name

# A body that is too large is read to its end, so that its sender hears so, up to this many times the limit.
PATIENCE = 10


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


class Request(FlaskRequest):
    """A request whose files are in the store, and not in memory or below /tmp."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.uploads: list[Upload] = []

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> Any:
        self.uploads.append(Upload(current_app.extensions["board"].files, filename or ""))
        return self.uploads[-1]


def read_form() -> dict[str, list[Any]]:
    """Answer the parts of a form by name: texts, and of each file what `Upload.received` tells."""
    form: dict[str, list[Any]] = request.form.to_dict(flat=False)
    for name, file in request.files.items(multi=True):
        form.setdefault(name, []).append(file.stream.received())  # type: ignore[attr-defined]
    return form


def register(app: Flask) -> None:
    """Receive files as above."""
    app.request_class = Request

    @app.teardown_request
    def discard_what_no_job_has_taken(error: BaseException | None) -> None:
        for upload in request.uploads:  # type: ignore[attr-defined]
            upload.discard()

    @app.after_request
    def hear_out_what_is_too_large(response: Response) -> Response:
        # Whoever is cut off in the middle of sending sees a broken connection, not the answer.
        # Flask's own server does not say where the body ends.
        if response.status_code == 413 and request.environ.get("wsgi.input_terminated"):
            rest = PATIENCE * app.config["MAX_CONTENT_LENGTH"]
            while rest > 0 and (data := request.environ["wsgi.input"].read(2**16)):
                rest -= len(data)
        return response
