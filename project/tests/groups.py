"""In which order, and in which of the processes that pytest-xdist starts, the tests are run."""

from collections import Counter

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Tests of a folder that follow each other are run in one process, so many of them: they share what takes long to
# start. Docker's are together, for they are about one engine; those of faults take long, and share nothing.
SIZES = {"stack": 10_000, "faults": 1}
SIZE = 8


def in_order(item: pytest.Item) -> tuple[bool, bool, bool]:
    """Sort a test: first what no other test may run beside, when no long one is to be waited for; then what is long."""
    is_long = item.get_closest_marker("long") or item.path.parent.name in SIZES
    return not item.get_closest_marker("alone"), item.path.parent.name != "stack", not is_long


class Groups(LoadScopeScheduling):
    """Hands out the tests in groups, each of which is run in one process, in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log: Producer | None = None):
        super().__init__(config, log)
        config.option.loadscopereorder = False
        self._groups: dict[str, str] = {}
        self._sizes: Counter[str] = Counter()

    def _split_scope(self, nodeid: str) -> str:
        if nodeid not in self._groups:
            path = nodeid.partition("::")[0]
            folder = path.split("/")[-2] if "/" in path else ""
            whole = folder if folder == "stack" else path
            self._groups[nodeid] = f"{whole} {self._sizes[whole] // SIZES.get(folder, SIZE)}"
            self._sizes[whole] += 1
        return self._groups[nodeid]
