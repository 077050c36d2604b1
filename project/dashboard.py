"""The dashboard: rq-dashboard, made safe. The container `dashboard` runs it under gunicorn."""

from launchpad.monitor import create_app

__all__ = ["create_app"]
