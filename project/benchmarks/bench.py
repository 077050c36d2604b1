"""`make bench`: what our worker and server cost beside what others use; prints one Markdown table.

`make bench BENCH="jobs status"` measures these groups only; `make bench BENCH="--rounds 1 --size 0.1"` is a quick try.
"""

import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter

import containers
import servers
import weight
import workers
from stage import say, staged
from table import Table

GROUPS = {
    "jobs": workers.jobs,
    "pandas": workers.pandas,
    "crash": workers.crash,
    "drain": workers.drain,
    "commands": workers.commands,
    "first": servers.first,
    "trips": servers.trips,
    "lists": servers.lists,
    "status": servers.status,
    "browsers": servers.browsers,
    "bar": servers.bar,
    "page": weight.page,
    "docker": containers.docker,
}


def main() -> None:
    """Measure, and print the table."""
    listed = "\n".join(f"  {name:<9} {group.__doc__}" for name, group in GROUPS.items())
    parser = ArgumentParser(description=f"{__doc__}\ngroups:\n{listed}", formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("group", nargs="*", choices=[*GROUPS, []], help="all, if none is named")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=float, default=1, help="of what is measured: 0.1 is a tenth of the jobs")
    options = parser.parse_args()
    began = time.monotonic()
    table = Table(f"{options.rounds} rounds of size {options.size:g}")
    with staged(options.rounds, options.size) as it:
        for name in options.group or GROUPS:
            say(f"{time.monotonic() - began:4.0f} s, {name}: {GROUPS[name].__doc__}")
            GROUPS[name](it, table)
    print(table.text(time.monotonic() - began))


if __name__ == "__main__":
    main()
