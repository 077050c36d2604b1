"""How gunicorn serves server and dashboard, in a container and in the local run; gunicorn reads this file by itself."""

import os

# Requests are short and wait for Redis: threads do, and a second process goes on where one is stuck.
workers = 2
worker_class = "gthread"
threads = 8

# The app is made once, before the processes are forked: a wrong setting stops the start, with its one line.
preload_app = True

# On SIGTERM, requests in progress have this many seconds; stop_grace_period in docker-compose.yml is longer.
graceful_timeout = 10

# Processes prove to be alive by touching a file: in memory, as a slow disk would look like a dead process.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108

# The control socket wants a home directory to write to; our user has none.
control_socket_disable = True

# Nobody's word is taken for the client's address or for https. Behind a proxy, put the proxy's address here.
forwarded_allow_ips = ""

# No access log (the default): it would be polls and health checks, and hide everything else.
