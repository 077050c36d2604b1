"""The README's commands for Docker, in its order, on a copy of the repository, with the function that it adds."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import test_stack
from test_stack import UNSET, Stack, ask, docker

from helpers import answers, wait_until
from readme import README, Command, commands, marked

pytestmark = pytest.mark.long
engine, source = test_stack.engine, test_stack.source


class Reader:
    """Somebody who follows the README in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.output = folder / "output.txt"
        self.stack = Stack(folder, "docker-compose.yml")
        self.environ = os.environ | UNSET | self.stack.ports | {"COMPOSE_PROJECT_NAME": self.stack.name}

    def type(self, command: str, stdin: str = "") -> str:
        """Run a command to its end, and return what it printed."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def watch(self, command: str) -> Iterator[None]:
        """Run a command that goes on until Ctrl-C."""
        with self.output.open("w") as output:
            child = subprocess.Popen(
                ["bash", "-c", command],
                cwd=self.folder,
                env=self.environ,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            yield
        finally:
            os.killpg(child.pid, signal.SIGINT)
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                raise AssertionError(f"{command} goes on after Ctrl-C:\n{self.output.read_text()}") from None


@pytest.fixture
def reader(engine: None, source: Path) -> Iterator[Reader]:
    reader = Reader(source)
    overlay = source / "docker-compose-development.yml"
    overlay.write_text(overlay.read_text().replace("container_name: ", f"container_name: {reader.stack.name}-"))
    try:
        yield reader
    finally:
        reader.stack.compose("down", "--volumes", "--timeout", "15")


def test_the_commands_of_the_readme_do_what_it_says(reader: Reader) -> None:
    first, *others = commands("docker")
    follow(reader, first)
    with (reader.folder / "project/jobs.py").open("a") as jobs:
        jobs.write("\n\n" + marked("example"))
    follow(reader, first)
    launched = ask(f"{reader.stack.server}/api/jobs", {"function": "find_primes"})
    assert reader.stack.finish(reader.stack.server + launched.headers["Location"])["value"] == 1229
    for command in others:
        follow(reader, command)


def follow(reader: Reader, command: Command) -> None:
    """Run a command, and look whether it has done what the README says."""
    print(command.text)
    stack = reader.stack
    match command.text.removeprefix("docker compose ").split():
        case ["up", *options]:
            reader.type(command.text)
            assert is_up(stack) or "--wait" not in options
            if "--scale" in options:
                wait_until(lambda: is_up(stack) and ask(f"{stack.server}/readyz").json["workers"] == 4)
        case ["-f", *_, "up", "--build"]:
            with reader.watch(command.text):
                wait_until(lambda: is_developed(stack), 120)
            assert not answers(stack.server)
        case ["logs", "-f", _]:
            with reader.watch(command.text):
                wait_until(lambda: "worker-1" in reader.output.read_text())
        case ["exec", _, "flask", "shell"]:
            lines = re.findall(r"`(manager(?: =|\.page|\.launch)[^`]*)`", README)
            assert len(lines) == 3
            written = reader.type(command.text, "\n".join([*lines, ""]))
            failed, id = written.replace(">>> ", "").split()
            assert failed == "0"
            assert ask(f"{stack.server}/api/jobs/{id[1:-1]}").json["function"] == "wait"
        case ["exec", _, "flask", "launch", *_, "--follow"]:
            assert reader.type(command.text) == "3\n"
        case ["exec", "-T", _, "flask", "launch", "profile-csv", *_]:
            [write] = {made.text for made in commands("printf")}
            reader.type(write)
            table = reader.type(command.text).splitlines()
            assert table[1] == "name,text,0,1,Ada,Ada,"
        case ["ps"]:
            wait_until(lambda: reader.type(command.text).count("(healthy)") == 7)  # four workers, three others
        case ["down", *options]:
            reader.type(command.text)
            assert not stack.containers()
            volumes = docker("volume", "ls", "--quiet", "--filter", f"label=com.docker.compose.project={stack.name}")
            assert bool(volumes) == ("-v" not in options)
        case _:
            reader.type(command.text)


def is_up(stack: Stack) -> bool:
    return answers(f"{stack.server}/readyz") and answers(f"{stack.dashboard}/healthz")


def is_developed(stack: Stack) -> bool:
    """Tell whether the containers are those of the overlay, by their names, and healthy."""
    found = stack.compose("ps", "--format", "{{.Name}} {{.Health}}").splitlines()
    return sorted(found) == sorted(f"{stack.name}-{service} healthy" for service in test_stack.SERVICES)
