"""How the server launches: through the board."""

import os

import jobs
from launchpad.board import Board
from launchpad.catalog import collect
from launchpad.settings import Settings

board = Board(Settings(redis_url=os.environ["REDIS_URL"], max_queued_jobs=10**6), collect(jobs))


def send(name: str) -> None:
    """Launch a function."""
    board.launch(name, {})
