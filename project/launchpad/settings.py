"""What the person who deploys can set: environment variables, read once, when a process starts."""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from redis.connection import parse_url


def _is_redis_url(url: str) -> str:
    if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
        raise ValueError("should start with redis://, rediss:// or unix://")
    try:
        parse_url(url)
    except ValueError:
        raise ValueError("is not a URL of the form redis://user:password@host:port/0") from None
    return url


def _is_files_url(url: str) -> str:
    if "://" in url and url.partition("://")[0] not in ("s3", "file"):
        raise ValueError("should be a folder, or a URL like s3://bucket/folder")
    return url


def _is_web_url(url: str) -> str:
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise ValueError("should start with http:// or https://, and name a host")
    return url


def _is_path(path: str) -> str:
    if path and not re.fullmatch(r"(/[\w.~-]+)+", path, re.ASCII):
        raise ValueError("should be a path that begins with / and does not end with it")
    return path


class Settings(BaseModel):
    """The settings of one process; a field's environment variable is its name in capitals.

    `.env.example` lists them all, with their defaults and what each is for.
    """

    model_config = ConfigDict(frozen=True)

    redis_url: Annotated[str, AfterValidator(_is_redis_url)] = "redis://redis:6379/0"
    title: str = "Launchpad"
    server_port: int = Field(default=5000, ge=1, le=65535)
    dashboard_port: int = Field(default=5555, ge=1, le=65535)
    dashboard_url: Annotated[str, AfterValidator(_is_web_url)] = ""  # empty: the same host, at dashboard_port
    script_name: Annotated[str, AfterValidator(_is_path)] = ""  # the path below which a proxy has the whole app
    login_username: str = ""
    login_password: str = ""
    trusted_proxies: int = Field(default=0, ge=0, le=9)
    max_queued_jobs: int = Field(default=10_000, ge=1)
    max_upload_mb: int = Field(default=100, ge=1)
    files_url: Annotated[str, AfterValidator(_is_files_url)] = "/data"
    flask_app: str = "server:create_app"  # in Flask's notation: jobs run in the context of this app
    stop_seconds: float = Field(default=5, ge=0, le=3600)
    grace_seconds: float = Field(default=25, ge=0, le=86400)

    @model_validator(mode="after")
    def _login_is_whole(self) -> Self:
        if bool(self.login_username) != bool(self.login_password):
            raise ValueError("LOGIN_USERNAME and LOGIN_PASSWORD: set both, or neither")
        return self

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Read the settings; an empty variable counts as unset.

        Raises:
            SystemExit: a setting is wrong; the message is one line that names it.
        """
        values = {name: environ[name.upper()] for name in cls.model_fields if environ.get(name.upper())}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]).upper() + ": " if first["loc"] else ""
            # The value itself is left out: it may hold a password.
            raise SystemExit(f"Wrong setting: {name}{first['msg'].removeprefix('Value error, ')}") from None
