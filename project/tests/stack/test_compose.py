"""What `docker compose` makes of the files; it only reads them, and needs no engine."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from test_stack import ROOT, UNSET

from launchpad.settings import Settings

PRODUCTION, OVERLAY = "docker-compose.yml", "docker-compose-development.yml"

pytestmark = pytest.mark.skipif(not shutil.which("docker"), reason="There is no docker command.")


def worker_of(folder: Path, *files: str, settings: str = "") -> Any:
    """The worker's service, as Compose reads it with these lines in .env."""
    for file in files:
        shutil.copy(ROOT / file, folder)
    (folder / ".env").write_text(settings)
    environ = {name: value for name, value in os.environ.items() if name not in UNSET}
    command = ["docker", "compose", *(f"--file={file}" for file in files), "config", "--format", "json"]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]["worker"]


def test_so_many_workers_are_started_as_the_file_of_settings_says(tmp_path: Path) -> None:
    assert worker_of(tmp_path, PRODUCTION)["deploy"]["replicas"] == 1
    worker = worker_of(tmp_path, PRODUCTION, settings="WORKERS=4\n")
    assert worker["deploy"]["replicas"] == 4
    assert "container_name" not in worker, "--scale could not add to one that has a name"


def test_in_development_there_is_one_worker_which_has_a_name(tmp_path: Path) -> None:
    worker = worker_of(tmp_path, PRODUCTION, OVERLAY, settings="WORKERS=4\n")
    assert (worker["container_name"], worker["deploy"]["replicas"]) == ("worker", 1)


def test_docker_waits_longer_than_a_job_may_go_on(tmp_path: Path) -> None:
    worker = worker_of(tmp_path, PRODUCTION)
    settings = Settings.from_environ(worker["environment"])
    seconds = float(worker["stop_grace_period"].removesuffix("s"))
    assert seconds >= settings.grace_seconds + settings.stop_seconds + 5


def test_the_seconds_for_an_end_are_those_of_the_file_of_settings(tmp_path: Path) -> None:
    worker = worker_of(tmp_path, PRODUCTION, settings="STOP_SECONDS=1\nGRACE_SECONDS=2\n")
    settings = Settings.from_environ(worker["environment"])
    assert (settings.stop_seconds, settings.grace_seconds) == (1, 2)
