"""Files in and out: uploads go straight to the store, and nothing stays there that belongs to no job."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from redis import Redis
from werkzeug.test import TestResponse

from helpers import APP, BIN, WORKER, answers, children, environ_in, free_port, peak_memory, process, wait_until
from launchpad.functions.catalog import Function, InvalidArguments, job
from launchpad.functions.files import UploadedFile
from launchpad.queue.job import Job
from launchpad.queue.manager import JobManager
from launchpad.settings import Settings
from launchpad.storage import ABANDONED, Store, safe_name
from server import create_app

CSV = b"name,height\nAda,1.68\nAlan,1.78\n"
MB = 1024 * 1024


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client whose requests are over when they are answered."""
    return app.test_client()


def upload(client: FlaskClient, data: bytes = CSV, name: str = "people.csv", **form: Any) -> TestResponse:
    headers = form.pop("headers", {})
    form = {"function": "profile_csv", "file": (io.BytesIO(data), name)} | form
    return client.post("/api/jobs", data=form, headers=headers, content_type="multipart/form-data")


def stored(files_url: str) -> list[str]:
    """The paths of all files in the store, relative to it."""
    return sorted(str(path.relative_to(files_url)) for path in Path(files_url).rglob("*") if path.is_file())


# -- names


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("people.csv", "people.csv"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ada\\people.csv", "people.csv"),
        ("a\0b\n.csv", "a_b_.csv"),
        ("Übersicht 2026 (1).csv", "Übersicht 2026 (1).csv"),
        ("报告.csv", "报告.csv"),
        ("photo\u202egpj.exe", "photo_gpj.exe"),
        ("con", "_con"),
        ("COM1.tar.gz", "_COM1.tar.gz"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("..", "file"),
        ("", "file"),
        ('"; filename=x.html', "_; filename=x.html"),
    ],
)
def test_a_name_is_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


@given(st.text(st.characters(codec=None), max_size=400))
def test_whatever_the_name_it_becomes_short_printable_and_stays_as_it_is(name: str) -> None:
    safe = safe_name(name)
    assert safe_name(safe) == safe
    assert 0 < len(safe.encode()) <= 151
    assert safe.isprintable()
    assert not set(safe) & set('/\\<>:"|?*')
    assert safe.strip(". ") == safe


# -- the type of a parameter


def test_a_function_with_a_file_is_called_with_a_path_or_an_open_file(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(CSV)
    with path.open("rb") as opened:
        for source in (path, str(path), opened):
            with UploadedFile(source) as file:
                assert (file.name, file.size, file.readline()) == ("people.csv", len(CSV), b"name,height\n")
    with UploadedFile(io.BytesIO(CSV), "../x.csv") as file:
        assert (file.name, file.read(4), file.seek(0), file.tell()) == ("x.csv", b"name", 0, 0)
        assert [*io.TextIOWrapper(file)] == CSV.decode().splitlines(keepends=True)


def test_an_uploaded_file_is_seekable_as_an_archive_needs_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("people.csv", CSV)
    with UploadedFile(tmp_path / "a.zip") as file, zipfile.ZipFile(file) as archive:
        assert archive.read("people.csv") == CSV


def compare(
    old: Annotated[UploadedFile, Field(description="Before.", json_schema_extra={"accept": ".csv"})],
    new: list[UploadedFile],
    note: UploadedFile | None = None,
) -> None: ...


FILE = {"name": "a", "size": 1, "key": "k"}


def test_a_file_has_an_input_of_its_own_and_cannot_come_as_json() -> None:
    function: Function = job()(compare).job  # type: ignore[attr-defined]
    assert [(field.name, field.kind, field.required) for field in function.fields] == [
        ("old", "file", True), ("new", "file", True), ("note", "file", False)
    ]  # fmt: skip
    assert [field.attributes for field in function.fields] == [{"accept": ".csv"}, {"multiple": True}, {}]
    assert function.fields[0].help == "Before."
    assert function.parse_form({"old": [FILE], "new": [FILE, FILE], "note": [""]}) == {
        "old": FILE, "new": [FILE, FILE], "note": None
    }  # fmt: skip
    with pytest.raises(InvalidArguments) as refused:
        function.parse({"old": FILE, "new": ["a"]})
    assert [error["loc"] for error in refused.value.errors] == [["old"], ["new", 0]]
    assert "multipart/form-data" in refused.value.errors[0]["msg"]
    with pytest.raises(InvalidArguments, match="old: Field required"):
        function.parse_form({"old": [""], "new": [FILE]})


# -- from the upload to the function


def test_an_uploaded_file_comes_to_the_function_and_a_file_comes_back(
    client: FlaskClient, work: Callable[[], None], files_url: str
) -> None:
    answer = upload(client)
    assert answer.status_code == 202
    id = answer.json["id"]
    assert answer.json["arguments"] == {"file": {"name": "people.csv", "size": len(CSV)}}
    assert stored(files_url) == [f"{id}/in/file/0"]
    work()
    job = client.get(f"/api/jobs/{id}").json
    assert job["arguments"] == {"file": {"name": "people.csv", "size": len(CSV)}}
    assert (job["progress"]["done"], job["progress"]["unit"]) == (len(CSV), "B")
    assert [row[:4] for row in job["result"]["rows"]] == [["name", "text", 0, 2], ["height", "number", 0, 2]]
    listed = client.get("/api/jobs").json["jobs"][0]["result"]
    assert (listed["rows"], listed["count"], listed["more"]) == ([], 2, job["result"]["more"]), "a list has no rows"
    cleaned = job["result"]["more"][0]["file"]
    assert (cleaned["name"], cleaned["size"], cleaned["media_type"]) == ("people-cleaned.csv", len(CSV), "text/csv")
    assert client.get(cleaned["url"]).data == CSV
    assert stored(files_url) == [f"{id}/in/file/0", f"{id}/out/people-cleaned.csv", f"{id}/out/profile.csv"]


@pytest.mark.parametrize(
    "name", ["../../x", "\0", "x" * 5000, "报告.csv", "con", "a\r\nb", '"', "..", "%2e%2e%2f", " "]
)
def test_hostile_names_are_only_names(client: FlaskClient, files_url: str, name: str) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="function"\r\n\r\nprofile_csv\r\n'
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n' % name.encode()
    answer = client.post(
        "/api/jobs", data=head + part + CSV + b"\r\n--b--\r\n", content_type="multipart/form-data; boundary=b"
    )
    assert answer.status_code in (202, 400, 422)
    if answer.status_code == 202:
        assert stored(files_url) == [f"{answer.json['id']}/in/file/0"]
        assert answer.json["arguments"]["file"]["name"] == safe_name(answer.json["arguments"]["file"]["name"])
    else:
        assert stored(files_url) == []
    assert not Path(files_url).exists() or {path.name for path in Path(files_url).parent.iterdir()} == {"files"}


def test_a_job_is_retried_with_the_file_it_was_launched_with(
    client: FlaskClient, manager: JobManager, work: Callable[[], None]
) -> None:
    id = upload(client).json["id"]
    manager.stop(id)
    manager.retry(id)
    work()
    assert manager.get(id).state == "finished"


def test_a_job_is_launched_again_with_copies_of_its_files(
    client: FlaskClient, manager: JobManager, work: Callable[[], None], files_url: str
) -> None:
    first = upload(client).json
    again = manager.launch_again(first["id"], "key")
    assert again.arguments == first["arguments"]
    assert again.id != first["id"]
    manager.delete(first["id"])
    assert stored(files_url) == [f"{again.id}/in/file/0"]
    work()
    assert manager.get(again.id).state == "finished"
    without = manager.launch("wait", {"num_iterations": 1})[0]
    assert manager.launch_again(without.id, "key").arguments == {"num_iterations": 1}


@pytest.mark.long
def test_a_file_is_uploaded_from_the_terminal_and_results_are_printed_there(
    manager: JobManager, redis_url: str, files_url: str, worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes(CSV)
    environ = environ_in() | {"REDIS_URL": redis_url, "FILES_URL": files_url, "MAX_UPLOAD_MB": "1"}

    def flask(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        command = [str(BIN / "flask"), "launch", "profile-csv", *arguments]
        return subprocess.run(command, cwd=APP, env=environ, timeout=60, capture_output=True, **options)

    printed = flask("--file", str(path), "--follow").stdout.decode().splitlines()
    [job] = manager.page().jobs
    assert job.arguments == {"file": {"name": "people.csv", "size": len(CSV)}}
    assert printed[:2] == ["column,type,missing,distinct,min,max,mean", "name,text,0,2,Ada,Alan,"]
    assert f"http://127.0.0.1:5000/api/jobs/{job.id}/files/people-cleaned.csv" in printed
    id = flask("--file", "-", input=CSV).stdout.decode().strip()
    wait_until(lambda: manager.get(id).state == "finished")
    assert len(stored(files_url)) == 2 * 3
    assert b"No such file" in flask("--file", "nothing.csv").stderr
    path.write_bytes(b"x" * (1024**2 + 1))
    refused = flask("--file", str(path))
    assert (refused.returncode, refused.stderr.decode()) == (
        1,
        f"Error: {path} is larger than 1 MB: set MAX_UPLOAD_MB.\n",
    )
    path.write_bytes(CSV)
    environ["FILES_URL"] = "/dev/null/files"
    assert flask("--file", str(path)).stderr.startswith(b"Error: The file store (FILES_URL) cannot be reached")
    environ["FILES_URL"] = files_url
    assert len(stored(files_url)) == 2 * 3
    assert flask("--file", str(tmp_path)).returncode == 2
    assert flask().stderr.endswith(b"Error: file: Field required\n")
    assert manager.page().total == 2


# -- nothing stays that belongs to no job


def test_an_upload_whose_launch_is_refused_leaves_nothing(
    client: FlaskClient, settings: Settings, files_url: str
) -> None:
    full = create_app(settings.model_copy(update={"max_queued_jobs": 1})).test_client()
    full.post("/api/jobs", json={"function": "wait"})
    unreachable = create_app(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1"})).test_client()
    small = create_app(settings.model_copy(update={"max_upload_mb": 1})).test_client()
    for answer, status in (
        (upload(client, colour="red"), 422),
        (upload(client, function="wait"), 422),
        (upload(client, function="nothing"), 404),
        (upload(client, function=(io.BytesIO(b"wait"), "wait")), 400),
        (upload(client, scheduled_at=(io.BytesIO(b"now"), "now")), 400),
        (upload(client, scheduled_at="soon"), 422),
        (upload(client, headers={"Origin": "http://elsewhere.example"}), 403),
        (upload(full), 429),
        (upload(unreachable), 503),
        (small.post("/api/jobs", data=b"x" * 2 * MB, content_type="multipart/form-data; boundary=b"), 413),
    ):
        assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
        assert stored(files_url) == []
        assert not Path(files_url).exists() or os.listdir(files_url) == []


def test_a_body_that_ends_too_early_leaves_nothing(client: FlaskClient, files_url: str) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * 2 * MB
    answer = client.post("/api/jobs", data=body, content_type="multipart/form-data; boundary=b")
    assert answer.status_code == 400
    assert stored(files_url) == []


def test_a_repeated_key_gives_the_same_job_and_its_second_file_is_dropped(client: FlaskClient, files_url: str) -> None:
    first, again = (upload(client, data, headers={"Idempotency-Key": "k"}) for data in (CSV, CSV + b"x,1\n"))
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json["id"] == again.json["id"]
    assert stored(files_url) == [f"{first.json['id']}/in/file/0"]
    assert Path(files_url, stored(files_url)[0]).read_bytes() == CSV


def test_a_deleted_job_leaves_no_file(client: FlaskClient, work: Callable[[], None], files_url: str) -> None:
    url = upload(client).headers["Location"]
    work()
    assert len(stored(files_url)) == 3
    assert client.delete(url).status_code == 204
    assert os.listdir(files_url) == []


def test_the_sweep_removes_what_belongs_to_no_job_and_nothing_else(
    client: FlaskClient, manager: JobManager, redis: Redis, files_url: str, request: pytest.FixtureRequest
) -> None:
    kept, expired, new = (manager.stop(upload(client).json["id"]).id for _ in range(3))
    redis.delete(Job.key_for(expired), Job.key_for(new))  # as when their time is over
    Store(files_url).open("abandoned/upload", "wb").close()
    others = ["photos/a.jpg", "README", "lost+found/in/x"]
    for other in others:
        Store(files_url).open(other, "wb").close()
    for id in (kept, expired, "abandoned", "photos", "README", "lost+found"):
        age(Path(files_url, id), ABANDONED + 60)
    request.getfixturevalue("worker")
    wait_until(lambda: not Path(files_url, expired).exists() and not Path(files_url, "abandoned").exists())
    assert stored(files_url) == sorted([f"{kept}/in/file/0", f"{new}/in/file/0", *others])


def age(folder: Path, seconds: float) -> None:
    """Let everything in a folder look as if it was written some time ago."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (time.time() - seconds,) * 2)


def test_a_listing_of_a_full_store_is_cheap(tmp_path: Path) -> None:
    for number in range(20_000):
        (tmp_path / f"job-{number}").mkdir()
    before = time.process_time()
    Store(str(tmp_path)).sweep(lambda ids: [True] * len(ids))
    assert time.process_time() - before < 1


# -- real servers


def body_of(size: int, boundary: bytes = b"b") -> tuple[int, Iterator[bytes]]:
    """A form with a CSV file of about this size, and its exact length, without ever having it whole."""
    head = b'--b\r\nContent-Disposition: form-data; name="function"\r\n\r\nprofile_csv\r\n'
    head += b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.csv"\r\n\r\nname,height\n'
    line, tail = (b'"' + b"Ada, " * 20 + b'",1.68\n') * (MB // 108), b"\r\n--b--\r\n"
    count = size // len(line)

    def pieces() -> Iterator[bytes]:
        yield head
        for _ in range(count):
            yield line
        yield tail

    return len(head) + count * len(line) + len(tail), pieces()


def send(url: str, size: int, chunked: bool = False) -> tuple[int, Any]:
    """Upload a file of this size to a real server; answers status and JSON."""
    length, pieces = body_of(size)
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    headers |= {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(length)}
    with closing(HTTPConnection(urlsplit(url).netloc, timeout=120)) as connection:
        connection.request("POST", "/api/jobs", pieces, headers, encode_chunked=chunked)
        with connection.getresponse() as answer:
            return answer.status, json.load(answer)


@contextmanager
def serving(environ: dict[str, str]) -> Iterator[tuple[str, int]]:
    """A real server with these settings: its URL and its process id."""
    port = free_port()
    with process(["gunicorn", "--bind", f"127.0.0.1:{port}", "server:create_app()"], **environ) as child:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"))
        yield f"http://127.0.0.1:{port}", child.pid


@pytest.fixture
def big_server(redis_url: str, files_url: str) -> Iterator[tuple[str, int]]:
    """A real server that takes files of 400 MB, and its process id."""
    with serving({"REDIS_URL": redis_url, "FILES_URL": files_url, "MAX_UPLOAD_MB": "400"}) as server:
        yield server


@pytest.mark.skipif(not Path("/proc").exists(), reason="memory is read from /proc")
def test_an_upload_of_300_mb_needs_no_memory(big_server: tuple[str, int], files_url: str) -> None:
    url, server = big_server
    send(url, 1 * MB)
    before = [peak_memory(pid) for pid in children(server)]
    assert send(url, 300 * MB)[0] == 202
    after = [peak_memory(pid) for pid in children(server)]
    print(f"peak memory of the server: {max(before) / MB:.0f} MB before, {max(after) / MB:.0f} MB after")
    assert max(after) < max(before) + 20 * MB
    assert max(after) < 200 * MB
    sizes = [Path(files_url, path).stat().st_size for path in stored(files_url)]
    assert max(sizes) > 299 * MB
    shutil.rmtree(files_url)


def test_what_is_too_large_is_answered_and_not_cut_off(live_server: str, files_url: str) -> None:
    for chunked in (False, True):
        status, problem = send(live_server, 120 * MB, chunked)
        assert (status, problem["title"]) == (413, HTTPStatus(413).phrase)
        assert not Path(files_url).exists() or os.listdir(files_url) == []


def test_a_broken_connection_leaves_nothing(live_server: str, files_url: str) -> None:
    with half_sent(live_server):
        wait_until(lambda: stored(files_url))
    wait_until(lambda: os.listdir(files_url) == [])


def half_sent(url: str) -> socket.socket:
    """A connection on which the upload of a file has begun."""
    connection = socket.create_connection((urlsplit(url).hostname or "", urlsplit(url).port or 0))
    length, pieces = body_of(50 * MB)
    head = "POST /api/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode() + next(pieces) + next(pieces))
    return connection


def test_what_a_killed_server_leaves_is_swept(
    big_server: tuple[str, int], files_url: str, request: pytest.FixtureRequest
) -> None:
    url, server = big_server
    with half_sent(url):
        wait_until(lambda: stored(files_url))
        os.killpg(server, signal.SIGKILL)
    [path] = stored(files_url)
    age(Path(files_url), ABANDONED + 60)
    request.getfixturevalue("worker")
    wait_until(lambda: not Path(files_url, path).exists())


# -- downloads


@pytest.fixture
def returned(client: FlaskClient, manager: JobManager, files_url: str) -> Callable[[str, bytes], str]:
    """Let a job have returned a file; answers its URL."""
    id = manager.launch("wait", {"num_iterations": 1})[0].id

    def save(name: str, data: bytes) -> str:
        with Store(files_url).open(f"{id}/out/{name}", "wb") as file:
            file.write(data)
        return f"/api/jobs/{id}/files/{quote(name)}"

    return save


@pytest.mark.parametrize(
    ("name", "kind", "inline"),
    [
        ("a.csv", "text/csv", False),
        ("a.html", "text/html", False),
        ("a.svg", "image/svg+xml", True),
        ("a.png", "image/png", True),
        ("a.pdf", "application/pdf", False),
        ("Übersicht 100%.unheard", "application/octet-stream", False),
    ],
)
def test_a_download_has_its_type_and_never_runs_in_our_origin(
    client: FlaskClient, returned: Callable[[str, bytes], str], name: str, kind: str, inline: bool
) -> None:
    answer = client.get(returned(name, b"<script>alert(1)</script>"))
    assert (answer.status_code, answer.mimetype, answer.content_length) == (200, kind, 25)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    disposition = answer.headers["Content-Disposition"]
    assert disposition.startswith("inline" if inline else "attachment")
    assert (quote(name) if " " in name else name) in disposition
    assert client.head(answer.request.path).content_length == 25


def test_what_is_not_there_is_404(
    client: FlaskClient, returned: Callable[[str, bytes], str], manager: JobManager
) -> None:
    url = returned("a.csv", CSV)
    folder, id = url.removesuffix("a.csv"), url.split("/")[3]
    hidden = upload(client).json["id"]
    names = ("b.csv", "", "..", ".", "%2e%2e", "..%2fin%2ffile%2f0", "..%5c..%5cx", "%00", "a.csv/")
    for path in (
        *(folder + name for name in names),
        f"{folder}..%2f..%2f{hidden}%2fin%2ffile%2f0",
        f"/api/jobs/{hidden}/files/..%2fin%2ffile%2f0",
        "/api/jobs/unknown/files/a.csv",
        "/api/jobs/%2e%2e/files/a.csv",
    ):
        assert (client.get(path).status_code, path) == (404, path)
    manager.delete(id)
    assert client.get(url).status_code == 404


# -- another store


def bucket(port: int, method: str = "GET", path: str = "/bucket") -> str:
    """Ask the server of S3 itself."""
    with closing(HTTPConnection(f"127.0.0.1:{port}", timeout=30)) as connection:
        connection.request(method, path)
        with connection.getresponse() as answer:
            assert answer.status == 200
            return answer.read().decode()


@pytest.fixture
def s3() -> Iterator[int]:
    """A server like S3 with an empty bucket: its port."""
    port = free_port()
    with process(["moto_server", "-H", "127.0.0.1", "-p", str(port)]):
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/moto-api/"))
        bucket(port, "PUT")
        yield port


@pytest.fixture
def on_s3(s3: int, redis_url: str) -> dict[str, str]:
    """The settings that lead there."""
    return {
        "REDIS_URL": redis_url,
        "FILES_URL": "s3://bucket/launchpad",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3}",
        "AWS_ACCESS_KEY_ID": "name",
        "AWS_SECRET_ACCESS_KEY": "password",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def get(url: str) -> Any:
    with urlopen(url, timeout=30) as answer:
        return json.load(answer)


def on_the_board(environ: dict[str, str], code: str) -> str:
    """What some code prints about the manager of an application with these settings."""
    code = f"from server import create_app; manager = create_app().extensions['launchpad'].manager; {code}"
    command = [str(BIN / "python"), "-c", code]
    done = subprocess.run(command, cwd=APP, env=environ_in() | environ, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.long
def test_files_may_be_kept_on_s3(s3: int, on_s3: dict[str, str]) -> None:
    with serving(on_s3) as (url, server):
        send(url, 1 * MB)
        status, job = send(url, 30 * MB)
        assert (status, job["arguments"]["file"]["name"]) == (202, "big.csv")
        before = max(map(peak_memory, children(server)))
        large = send(url, 100 * MB)[1]["id"]
        after = max(map(peak_memory, children(server)))
        print(f"peak memory of the server: {before / MB:.0f} MB before, {after / MB:.0f} MB after")
        assert after < before + 70 * MB, "it does not hold the file; how many blocks of it does vary"
        on_the_board(on_s3, f"manager.delete('{large}')")
        with process(WORKER, **on_s3):
            api = f"{url}/api/jobs/{job['id']}"
            wait_until(lambda: get(api)["ended_at"], 300)
        result = get(api)["result"]
        assert (result["type"], result["count"]) == ("table", 2)
        cleaned = result["more"][0]["file"]
        with urlopen(url + cleaned["url"], timeout=30) as answer:
            assert int(answer.headers["Content-Length"]) == len(answer.read()) == cleaned["size"]
    again = on_the_board(on_s3, f"print(manager.launch_again('{job['id']}', 'key').id); manager.delete('{job['id']}')")
    assert f"launchpad/{again}/in/file/0" in bucket(s3)
    assert job["id"] not in bucket(s3)
    assert bucket(s3).count("<Key>") == 3 + 1, "of the first job, and of the last one"
    on_the_board(on_s3, f"manager.files.sweep(lambda ids: [id == '{again}' for id in ids])")
    assert bucket(s3).count("<Key>") == 3 + 1, "they are too young"
    on_the_board(on_s3, f"manager.files.sweep(lambda ids: [id == '{again}' for id in ids], -60)")
    assert bucket(s3).count("<Key>") == 1
    assert again in bucket(s3)


def test_a_store_that_cannot_be_reached_is_told_and_nothing_is_launched(
    settings: Settings, redis_url: str, manager: JobManager
) -> None:
    answer = upload(create_app(settings.model_copy(update={"files_url": "/dev/null/files"})).test_client())
    assert (answer.status_code, answer.json["detail"][:14]) == (503, "The file store")
    nowhere = f"http://127.0.0.1:{free_port()}"
    environ = {"AWS_ENDPOINT_URL": nowhere, "AWS_ACCESS_KEY_ID": "name", "AWS_SECRET_ACCESS_KEY": "password"}
    with serving(environ | {"REDIS_URL": redis_url, "FILES_URL": "s3://bucket"}) as (url, _):
        assert send(url, 1 * MB)[0] == 503
    assert manager.page().total == 0
