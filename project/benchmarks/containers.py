"""Measures of the stack in Docker: on ports, under a name and with an image of its own."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from stage import PROJECT, Stage, rounds
from table import Table

sys.path.append(str(PROJECT / "tests/stack"))

from test_stack import Stack
from test_stack import docker as run

from helpers import copy_project

UNITS = {"B": 1e-6, "KiB": 1024e-6, "MiB": 1.024**2, "GiB": 1.024**3 * 1000}  # in MB


def docker(stage: Stage, table: Table) -> None:
    """Build, start, idle memory and size of the stack."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        return table.note("Docker", "", "left out: no engine answers")
    folder = stage.folder / "stack"  # a copy, which can be changed
    copy_project(folder)
    stack = Stack(folder, "docker-compose.yml")
    compose = (PROJECT.parent / "docker-compose.yml").read_text()
    (folder / "docker-compose.yml").write_text(re.sub(r"(?<=\n  image: )\S+", stack.name, compose, count=1))
    try:
        measure(stage, table, stack, folder)
    finally:
        stack.compose("down", "--volumes", "--rmi", "local", "--timeout", "15")
        run("image", "rm", "--force", stack.name)
    return None


def measure(stage: Stage, table: Table, stack: Stack, folder: Path) -> None:
    """Build it in three ways, and start it."""

    def timed(*arguments: str) -> float:
        began = time.perf_counter()
        stack.compose(*arguments)
        return time.perf_counter() - began

    def build_changed() -> float:
        with (folder / "project/jobs.py").open("a") as file:
            file.write(f"# {time.time()}\n")  # no layer of an earlier bench has it
        return timed("build")

    def start() -> float:
        stack.compose("down", "--volumes")
        return timed("up", "--detach", "--wait")

    cold = rounds(1, {"cold": lambda: timed("build", "--no-cache")})
    warm = {"after a change to `jobs.py`": build_changed, "unchanged": lambda: timed("build")}
    table.add("`docker compose build`, s", cold | rounds(stage.times, warm))
    table.add("`docker compose up --wait`, s", rounds(stage.times, {"all four healthy": start}))
    time.sleep(10)  # until they are idle
    memory = memory_of(stack)
    table.add("Idle memory, MB", {"all four": [sum(memory.values())]} | {name: [memory[name]] for name in memory})
    size = int(run("image", "inspect", "--format", "{{.Size}}", stack.name))
    table.add("Image, MB", {"of server, worker and dashboard": [size / 1e6]})


def memory_of(stack: Stack) -> dict[str, float]:
    """Tell the megabytes that each container has taken."""
    ids = {service: container["Id"] for service, container in sorted(stack.containers().items())}
    lines = run("stats", "--no-stream", "--no-trunc", "--format", "json", *ids.values()).splitlines()
    used = {stats["ID"]: re.match(r"([\d.]+)(\w+)", stats["MemUsage"]).groups() for stats in map(json.loads, lines)}
    return {service: float(used[id][0]) * UNITS[used[id][1]] for service, id in ids.items()}
