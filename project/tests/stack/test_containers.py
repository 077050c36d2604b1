"""What a container may do, if somebody gets into it: next to nothing. The production stack, looked at from inside."""

import json
import re
import subprocess

import pytest
import test_stack
from test_stack import IMAGE, SERVICES, Stack, docker, run

engine, stack = test_stack.engine, test_stack.stack
SECRET = "hunter2-of-the-tests"


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_a_container_is_unprivileged_and_read_only_and_has_limits(stack: Stack, service: str) -> None:
    host = stack.container(service)["HostConfig"]
    assert (host["ReadonlyRootfs"], host["Privileged"], host["CapDrop"]) == (True, False, ["ALL"])
    assert not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert 0 < host["Memory"] <= 2 * 1024**3
    assert 0 < host["PidsLimit"] <= 1000
    assert not host["Binds"] or not any("/" in bind.split(":")[0] for bind in host["Binds"]), "a folder of the host"
    status = dict(re.findall(r"^(\w+):\s+(.*)$", stack.shell(service, "cat /proc/self/status").stdout, re.M))
    assert (status["NoNewPrivs"], status["CapEff"], status["CapPrm"], status["CapBnd"]) == ("1", *["0" * 16] * 3)
    assert status["Uid"].split()[0] != "0"
    written = stack.shell(service, "for place in / /etc /usr /app /root /opt; do touch $place/x && echo $place; done")
    assert written.stdout == ""


def test_who_takes_more_memory_than_a_container_has_is_killed(stack: Stack) -> None:
    assert stack.shell("worker", "python -c 'bytearray(3 * 1024**3)'").returncode == 137
    assert stack.finish(stack.launch(1))["value"] == 1


def test_redis_is_reached_by_our_three_only_and_reaches_nobody(stack: Stack) -> None:
    networks = {name: set(found["NetworkSettings"]["Networks"]) for name, found in stack.containers().items()}
    assert networks["redis"] == {f"{stack.name}_redis"}
    assert (
        networks["server"]
        == networks["worker"]
        == networks["dashboard"]
        == {
            f"{stack.name}_redis",
            f"{stack.name}_default",
        }
    )
    [network] = json.loads(docker("network", "inspect", f"{stack.name}_redis"))
    assert network["Internal"] is True
    routes = stack.shell("redis", "tail -n +2 /proc/net/route | cut -f 2").stdout.split()
    assert routes, "its own network"
    assert "00000000" not in routes, "a way out"


@pytest.mark.parametrize("command", ["config get dir", "flushall", "acl list", "get other", "module list", "keys *"])
def test_the_user_of_redis_may_do_only_what_rq_needs(stack: Stack, command: str) -> None:
    """What else is denied, and that nothing is that is needed, is in security/test_redis_acl.py."""
    assert "NOPERM" in stack.shell("redis", f"redis-cli {command.replace('*', chr(39) + '*' + chr(39))}").stdout


def test_nothing_secret_is_in_the_image_or_its_history(stack: Stack) -> None:
    secrets = {"LOGIN_USERNAME": "ada", "LOGIN_PASSWORD": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET}
    stack.compose("build", **secrets)
    environment = json.loads(docker("image", "inspect", IMAGE))[0]["Config"]["Env"]
    history = docker("history", "--no-trunc", IMAGE)
    assert not re.search(r"(?i)passw|secret|token|credential|_key=(?!\w{40}\b)", "\n".join([*environment, history]))
    layers = subprocess.Popen(["docker", "save", IMAGE], stdout=subprocess.PIPE)
    found = subprocess.run(["grep", "--count", "--text", SECRET], stdin=layers.stdout, capture_output=True, text=True)
    layers.communicate()
    assert (found.stdout.strip(), layers.returncode) == ("0", 0)
    hidden = stack.shell("server", "find /app -name '.*' ! -name . ! -name .flaskenv; ls /app/tests /app/.env")
    assert hidden.stdout == ""
    assert run("run", "--rm", IMAGE, "id", "-u").stdout == "999\n"
