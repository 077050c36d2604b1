"""What comes from outside may be anything: the answer is one of the contract, at once, and others get theirs."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from itertools import product
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from helpers import answers, below, wait_until

TEXTS = ["\0", "a\0b", "\ud800", "\udfff\ud800", "\u202e", "\x1b[2J", "x" * 100_000, "²", "%00", "../..", "\r\nX: y"]


def body(arguments: str, function: str = "wait") -> bytes:
    return f'{{"function": "{function}", "arguments": {arguments}}}'.encode()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (body('{"num_iterations": 1e400}'), 422),
        (body('{"num_iterations": -1e400}'), 422),
        (body('{"num_iterations": 1e-400}'), 422),
        (body('{"num_iterations": %s}' % ("1" * 4000)), 422),
        (body('{"num_iterations": %s}' % ("1" * 5000)), 400),
        (body('{"num_iterations": 1%s}' % ("0" * 100_000)), 400),
        (body('{"num_iterations": %s}' % ("1" * 5000 + ".0")), 422),
        (body('{"num_iterations": Infinity}'), 400),
        (body('{"num_iterations": ' + "[" * 100_000 + "]" * 100_000 + "}"), 400),
        (body('{"a": ' * 100_000 + "1" + "}" * 100_000), 400),
        (body('{"num_iterations": ' + "[" * 500 + "]" * 500 + "}"), 422),
        (body('{"text": "\\u0000"}', "count_words"), 202),
        (body('{"text": "a\\ud800"}', "count_words"), 422),
        (body('{"\\ud800": 1}'), 422),
        (body('{"\\u0000": 1}'), 422),
        (body("{}", "\\u0000"), 404),
        (body("{" + ", ".join(f'"{i}": {i}' for i in range(10_000)) + "}"), 422),
        (b"\xff\xfe" + "{}".encode("utf-16-le"), 400),
        (b"\0" * 1000, 400),
        (b'{"function": "wait", "function": ["wait"]}', 400),
    ],
    ids=range(20),
)
def test_hostile_json_is_answered_as_the_contract_says(client: FlaskClient, data: bytes, status: int) -> None:
    start = time.process_time()
    answer = client.post("/api/jobs", data=data, content_type="application/json")
    assert answer.status_code == status, answer.text[:300]
    assert time.process_time() - start < 2
    assert client.get("/api/jobs").status_code == client.get("/").status_code == 200


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_any_text_may_be_in_any_place(client: FlaskClient, text: str) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    for name, path in product(
        ("id", "q", "state", "function", "page", "per_page", "after", "nothing"), ("/api/jobs", "/")
    ):
        assert client.get(path, query_string={name: raw}).status_code in (200, 302, 400, 404)
    quoted = "".join(f"%{byte:02x}" for byte in raw)
    for path in (
        "/{}",
        "/jobs/{}",
        "/launch/{}",
        "/api/jobs/{}",
        "/api/jobs/{}/log",
        "/api/jobs/x/files/{}",
        "/static/{}",
    ):
        assert client.get(path.format(quoted)).status_code in (308, 404), path
    for path in ("/api/jobs/{}/stop", "/api/jobs/{}/retry", "/jobs/{}/again", "/jobs/{}/delete"):
        assert client.post(path.format(quoted)).status_code in (303, 404), path  # whoever deletes nothing, has
    for form in (
        {"num_iterations": raw},
        {raw: b"1"},
        {"scheduled_at": raw},
        {"idempotency-key": raw, "num_iterations": b"1"},
    ):
        encoded = b"&".join(b"=".join(quote(part) for part in pair) for pair in form.items())
        sent = client.post("/launch/wait", data=encoded, content_type="application/x-www-form-urlencoded")
        assert sent.status_code in (303, 422)
        parts = b"".join(
            b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % pair for pair in form_of(form)
        )
        sent = client.post("/api/jobs", data=parts + b"--b--\r\n", content_type="multipart/form-data; boundary=b")
        assert sent.status_code in (202, 400, 422), sent.text
    key = text.encode("ascii", "replace").decode().replace("\r\n", "")
    assert client.post("/api/jobs", json={"function": "wait"}, headers={"Idempotency-Key": key}).status_code in (
        200,
        202,
    )


def quote(part: bytes | str) -> bytes:
    return "".join(f"%{byte:02x}" for byte in (part.encode() if isinstance(part, str) else part)).encode()


def form_of(form: dict[Any, bytes]) -> Iterator[tuple[bytes, bytes]]:
    yield b"function", b"wait"
    for name, value in form.items():
        yield (name.encode() if isinstance(name, str) else name), value


def test_ten_thousand_fields_are_refused(client: FlaskClient) -> None:
    fields = {f"field{i}": str(i) for i in range(10_000)}
    parts = b"".join(b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\n1\r\n' % i for i in range(10_000))
    for path in ("/api/jobs", "/launch/wait"):
        form = client.post(path, data=parts + b"--b--\r\n", content_type="multipart/form-data; boundary=b")
        assert form.status_code == 413
    for path, kind, statuses in (
        ("/launch/wait", "application/x-www-form-urlencoded", (413, 422)),
        ("/jobs/act", "application/x-www-form-urlencoded", (400,)),
    ):
        start = time.process_time()
        answer = client.post(path, data=fields | {"function": "wait"}, content_type=kind)
        assert answer.status_code in statuses, path
        assert time.process_time() - start < 3
    assert client.get("/api/jobs", query_string=fields).status_code == 200
    assert client.get("/api/jobs", query_string={"id": ["x"] * 10_000}).status_code == 400


# -- on the wire


@pytest.fixture
def tell(live_server: str) -> Callable[..., int]:
    """Send bytes to the real server, and answer the status; 0 where it has just closed the connection."""
    address = urlsplit(live_server)

    def tell(*pieces: bytes) -> int:
        with closing(socket.create_connection((address.hostname or "", address.port or 0), 10)) as connection:
            with suppress(ConnectionError):
                for piece in pieces:
                    connection.sendall(piece)
                connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                answer = connection.recv(100)
                return int(answer.split()[1]) if answer else 0
            return 0

    return tell


POST = b"POST /api/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
LAUNCH = b'{"function": "wait"}'


def test_what_is_no_http_is_refused_at_once(tell: Callable[..., int]) -> None:
    get, end = b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"\r\n"
    for pieces, statuses in (
        ([get, end], (200,)),
        ([get, b"X: " + b"x" * 1024**2 + b"\r\n", end], (431, 0)),
        ([get, *[b"X%d: x\r\n" % i for i in range(10_000)], end], (431, 0)),
        ([b"GET /" + b"x" * 1024**2 + b" HTTP/1.1\r\n", end], (400, 414, 0)),
        ([b"\0" * 1000, end], (400,)),
        ([b"GET / HTTP/9.9\r\n", end], (400, 505)),
        ([POST, b"Content-Length: -1\r\n\r\n"], (400,)),
        ([POST, b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"], (400,)),
        ([POST, b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], (400,)),
        ([POST, b"Transfer-Encoding: nonsense\r\n\r\n"], (400, 501)),
        ([POST, b"Transfer-Encoding: chunked\r\n\r\nzz\r\nx\r\n0\r\n\r\n"], (400,)),
        ([POST, b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(LAUNCH), LAUNCH)], (202,)),
        ([POST, b"Content-Length: 999999999999\r\n\r\n"], (413,)),
        ([POST, b"Content-Length: 20\r\nHost: x\x00y\r\n\r\n", LAUNCH], (400,)),
        ([POST, b"Expect: 100-continue\r\nContent-Length: 20\r\n\r\n", LAUNCH], (100, 202)),
    ):
        start = time.monotonic()
        assert tell(*pieces) in statuses, pieces[1][:80]
        assert time.monotonic() - start < 10


def test_fifty_slow_clients_do_not_keep_others_waiting(live_server: str) -> None:
    address = urlsplit(live_server)
    slow = POST + b"Content-Length: 1000\r\n\r\n"

    def others() -> float:
        start = time.monotonic()
        assert answers(live_server + "/healthz")
        assert answers(live_server + "/api/jobs")
        return time.monotonic() - start

    with ExitStack() as stack:
        connections = [
            stack.enter_context(closing(socket.create_connection((address.hostname or "", address.port or 0), 40)))
            for _ in range(50)
        ]
        for number, connection in enumerate(connections):  # half of them in the head, half in the body
            connection.sendall(slow if number % 2 else slow[:20])
        for _ in range(20):
            for connection in connections[:40]:
                connection.sendall(b"x")
            below(2, others)
    wait_until(lambda: answers(live_server + "/healthz"))


def test_the_body_of_a_launch_that_is_refused_is_not_kept(client: FlaskClient) -> None:
    assert client.get("/api/jobs").json["total"] == 0
    assert (
        client.post("/api/jobs", data=json.dumps({"function": "wait", "arguments": {"x": "y" * 10**6}})).status_code
        == 415
    )
    assert client.get("/api/jobs").json["total"] == 0
