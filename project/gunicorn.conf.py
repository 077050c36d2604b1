"""How gunicorn serves server and dashboard, in a container and in the local run; gunicorn reads this file by itself."""

import os
from typing import Any

# Requests are short and wait for Redis: threads do, and a second process goes on where one is stuck. There are many
# of them because each slow upload keeps one.
workers = 2
worker_class = "gthread"
threads = 64

# Seconds that a connection is kept for the next request: a page on which nothing happens asks every five.
keepalive = 15

# The app is made once, before the processes are forked: a wrong setting stops the start, with its one line.
preload_app = True

# On SIGTERM, requests in progress have this many seconds; stop_grace_period in docker-compose.yml is longer.
graceful_timeout = 10

# Processes prove to be alive by touching a file: in memory, as a slow disk would look like a dead process.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108

# The control socket wants a home directory to write to; our user has none.
control_socket_disable = True

# gunicorn takes nobody's word for the client's address or for https; the app does, if TRUSTED_PROXIES says so.
forwarded_allow_ips = ""

# No access log (the default): it would be polls and health checks, and hide everything else.


def post_worker_init(worker: Any) -> None:
    """Let each process look for abandoned jobs: after `docker kill` of the only worker, nobody else would."""
    if state := worker.wsgi.extensions.get("launchpad"):  # the dashboard, and others in the bench, have none
        from launchpad.worker import abandoned  # these others do not have its packages

        abandoned.watch(state.manager.redis)
