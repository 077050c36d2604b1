"""`python fill.py module number task…`: put so many of each task on the queue, as the module's `send` does it."""

import sys
from importlib import import_module

sys.path.insert(0, "")
module, number, *tasks = sys.argv[1:]
send = import_module(module).send
for task in tasks:
    for _ in range(int(number)):
        send(task)
