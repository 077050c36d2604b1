"""Programs that write clients: they take the whole document, and what they write works."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask.testing import FlaskClient

from helpers import BIN, wait_until

NPM_PACKAGES = ("openapi-typescript@7.13.0", "typescript@5.9.3")
USE = """
import type { components, paths } from "./api.js";

type Result = components["schemas"]["Result"];
type Launch = paths["/api/jobs"]["post"]["requestBody"]["content"]["application/json"];

export const launch: Launch = { function: "wait", arguments: { num_iterations: 3 } };
export const links = (job: components["schemas"]["Job"]): string[] => (job.result ? [job.result] : []).flatMap(link);
const link = (result: Result): string[] => {
  return result.type === "image" ? [result.file.url] : (result.more ?? []).flatMap(link);
};
"""


@pytest.fixture
def document(client: FlaskClient, tmp_path: Path) -> Path:
    """The document, in a file."""
    path = tmp_path / "openapi.json"
    path.write_text(client.get("/api/openapi.json").text)
    return path


def run(command: list[str | Path], folder: Path) -> str:
    """Run a program, and answer all that it says."""
    environ = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONWARNINGS": "default"}
    done = subprocess.run([*map(str, command)], cwd=folder, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def generated(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import a module of the client that openapi-python-client writes."""
    command = [BIN / "openapi-python-client", "generate", "--path", document, "--meta", "none", "--fail-on-warning"]
    said = run([*command, "--output-path", tmp_path / "some_client"], tmp_path)
    assert said.splitlines() == [f"Generating {tmp_path / 'some_client'}"], "it leaves nothing out"
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name: import_module(f"some_client.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "some_client"]:
        del sys.modules[name]


@pytest.mark.usefixtures("worker")
def test_a_generated_client_launches_a_job_follows_it_and_downloads_what_it_returned(
    generated: Callable[[str], Any], live_server: str
) -> None:
    models, calls = generated("models"), "api.default."
    with generated("client").Client(live_server, raise_on_unexpected_status=True) as client:
        arguments = models.Mandelbrot(width=64, height=48, iterations=20)
        body = models.LaunchJobJsonMandelbrot(function="mandelbrot", arguments=arguments)
        job = generated(calls + "launch_job").sync(client=client, body=body, idempotency_key="once")
        assert isinstance(job, models.Job)
        assert (job.state, job.arguments.to_dict()["width"]) == ("queued", 64)

        def ended() -> Any:
            found = generated(calls + "get_job").sync(job.id, client=client)
            return found.ended_at and found

        job = wait_until(ended)
        assert job.progress.done == job.progress.total == 48
        assert isinstance(job.result, models.ImageResult)
        listing = generated(calls + "list_jobs").sync(client=client, state=models.ListJobsState.FINISHED)
        assert [listed.id for listed in listing.jobs] == [job.id]
        assert listing.counts["finished"] == listing.total == 1
        assert generated(calls + "get_log").sync(job.id, client=client).complete
        file = generated(calls + "get_file").sync_detailed(job.id, job.result.file.name, client=client)
        assert file.content.startswith(b"\x89PNG")
        assert len(file.content) == job.result.file.size
        wrong = generated(calls + "get_job").sync("nothing", client=client)
        assert isinstance(wrong, models.Problem)
        assert wrong.status == 404


def test_datamodel_code_generator_makes_models_that_read_what_is_answered(
    document: Path, tmp_path: Path, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [BIN / "datamodel-codegen", "--input", document, "--input-file-type", "openapi", "--use-annotated"]
    command += ["--formatters", "ruff-format"]
    said = run([*command, "--output-model-type", "pydantic_v2.BaseModel", "--output", "some_models.py"], tmp_path)
    assert said == ""
    monkeypatch.syspath_prepend(tmp_path)
    models = import_module("some_models")
    del sys.modules["some_models"]
    client.post("/api/jobs", json={"function": "wait"})
    [job] = models.Listing.model_validate_json(client.get("/api/jobs").text).jobs
    assert (job.function, job.state.value) == ("wait", "queued")
    part = {"type": "text", "value": "a", "label": "b"}
    result = models.Result.model_validate({"type": "json", "value": 1, "more": [part]})
    assert result.root.more[0].root.label == "b"


@pytest.mark.long
@pytest.mark.skipif(not (shutil.which("npm") or os.environ.get("CI")), reason="There is no npm.")
def test_openapi_typescript_makes_types_that_compile(document: Path, tmp_path: Path) -> None:
    try:
        run(["npm", "install", "--no-save", "--no-audit", "--no-fund", *NPM_PACKAGES], tmp_path)
    except AssertionError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"npm cannot install: {error}")
    bin = tmp_path / "node_modules/.bin"
    run([bin / "openapi-typescript", document, "--output", "api.d.ts"], tmp_path)
    (tmp_path / "use.ts").write_text(USE)
    assert run([bin / "tsc", "--noEmit", "--strict", "--module", "nodenext", "use.ts"], tmp_path) == ""
