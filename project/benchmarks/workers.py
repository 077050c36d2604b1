"""Measures of workers: how many jobs a second, what a crash does to them, what they ask of Redis."""

import time
from collections import Counter
from contextlib import ExitStack
from itertools import dropwhile, islice, takewhile

from redis import Redis
from redis.client import Monitor
from stage import KINDS, OURS, PATIENCE, Child, Kind, Stage, rounds
from table import Table

QUEUE = b"rq:queue:default"
WARM = 5  # jobs that are done before a measure begins
SECONDS = 3  # that a measure lasts, if there are jobs enough


class Results:
    """Counts what is done, with one command for each look."""

    def __init__(self, stage: Stage, kind: Kind, base: int = 0):
        self.looks = 0
        self._redis, self._command = stage.connect(base + kind.results), kind.done

    def __call__(self) -> int:
        """Tell how many there are."""
        self.looks += 1
        return int(self._redis.execute_command(*self._command.split()))

    def reach(self, number: int, worker: Child, seconds: float = PATIENCE) -> tuple[float, int]:
        """Wait until so many are done, or, after so many seconds, until the next one is; tell when and how many."""
        late = time.perf_counter() + seconds
        found = 0

        def reached() -> bool:
            nonlocal found, number
            found = self()
            if time.perf_counter() > late and number > found:
                number = found + 1
            return found >= number

        worker.wait_until(reached)
        return time.perf_counter(), found


def filled(stage: Stage, kind: Kind, number: int) -> Results:
    """Empty Redis, and enqueue so many jobs that do nothing."""
    stage.redis.flushall()
    stage.fill(kind, number, "noop")
    return Results(stage, kind)


def rate(stage: Stage, kind: Kind, number: int, **environ: str) -> float:
    """Tell how many jobs a worker does each second, once it is warm."""
    done = filled(stage, kind, number)
    with stage.worker(kind, **environ) as worker:
        began, before = done.reach(min(WARM, number // 4), worker)
        ended, after = done.reach(number, worker, SECONDS)
    return (after - before) / (ended - began)


def jobs(stage: Stage, table: Table) -> None:
    """No-op jobs per second and worker."""
    actions = {kind.name: lambda kind=kind: rate(stage, kind, stage.scaled(kind.jobs)) for kind in KINDS}
    table.add("No-op jobs per second, one worker", rounds(stage.times, actions))


def pandas(stage: Stage, table: Table) -> None:
    """The same, with tasks that import pandas."""
    actions = {kind.name: lambda kind=kind: rate(stage, kind, stage.scaled(kind.jobs), HEAVY="1") for kind in KINDS}
    table.add("The same where the tasks' module imports pandas", rounds(stage.times, actions))


def crash(stage: Stage, table: Table) -> None:
    """What the crash of a job does to the next one."""
    for number, kind in enumerate(KINDS):
        table.note("" if number else "A job is killed; the next is done after", kind.name, after_crash(stage, kind))


def after_crash(stage: Stage, kind: Kind) -> str:
    """Tell after how many seconds the job behind one that is killed is done, if it ever is."""
    stage.redis.flushall()
    done = Results(stage, kind)
    with stage.worker(kind) as worker:
        stage.fill(kind, 1, "noop")
        worker.wait_until(lambda: done() >= 1, 60)
        stage.fill(kind, 1, "crash", "noop")
        began = time.perf_counter()
        while done() < 2 and time.perf_counter() - began < 30 and not worker.has_ended():
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        if done() >= 2:
            return f"{seconds:.1f} s" if seconds >= 0.1 else "at once"
        return "the worker has ended" if worker.has_ended() else "more than 30 s"


def drain(stage: Stage, table: Table) -> None:
    """How a queue is emptied by one, two and four of our workers."""
    number = stage.scaled(10_000)
    filled(stage, OURS, number)
    actions = {f"{n} of our workers": lambda n=n: drained(stage, number, n) for n in (1, 2, 4)}
    table.add(f"Draining {number:,} no-op jobs, jobs per second", rounds(1, actions))


def drained(stage: Stage, number: int, many: int) -> float:
    """Tell how many jobs a second so many workers do, which are there before the jobs; look for a minute at most."""
    redis, done = stage.connect(many), Results(stage, OURS, many)
    for key in stage.redis.scan_iter():
        stage.redis.copy(key, b"held" if key == QUEUE else key, many)
    with ExitStack() as opened:
        workers = [opened.enter_context(stage.worker(OURS, many)) for _ in range(many)]
        workers[0].wait_until(lambda: redis.scard("rq:workers:default") == many)
        time.sleep(1)  # until they wait for a job
        began = time.perf_counter()
        redis.rename("held", QUEUE)
        ended, after = done.reach(number, workers[0], 60)
    return after / (ended - began)


def commands(stage: Stage, table: Table) -> None:
    """What a job costs Redis."""
    found = {kind.name: asked(stage, kind, stage.scaled(max(kind.jobs // 4, 6))) for kind in KINDS}
    for number, name in enumerate(("Round trips", "Commands from clients", "Commands within scripts")):
        rows = {kind: [asked[number]] for kind, asked in found.items()}
        table.add(f"{name} per no-op job", rows, compared=number < 2)


def asked(stage: Stage, kind: Kind, number: int) -> list[float]:
    """Tell the round trips of a job, the commands that clients send for it, and those that scripts run."""
    done = filled(stage, kind, number)
    with stage.worker(kind) as worker, stage.connect().monitor() as monitor:
        _, before = done.reach(min(WARM, number // 4), worker)
        stage.redis.echo("begin")
        reads, looks = reads_of(stage.redis), done.looks
        _, after = done.reach(number, worker)
        own = done.looks - looks
        trips = reads_of(stage.redis) - reads - own - 1
        stage.redis.echo("end")
        senders = senders_of(monitor)
    counts = (trips, senders["tcp"] - own - 2, senders["lua"])  # two are those that count the reads
    return [round(count / (after - before), 1) for count in counts]


def reads_of(redis: Redis) -> int:
    """Tell how often Redis has read from any connection: a pipeline is read at once."""
    return int(redis.info("stats")["total_reads_processed"])


def senders_of(monitor: Monitor) -> Counter[str]:
    """Count the commands between two marks by who has sent them."""
    lines = ((line["client_type"], line["command"]) for line in monitor.listen())
    marked = dropwhile(lambda line: line[1] != "ECHO begin", takewhile(lambda line: line[1] != "ECHO end", lines))
    return Counter(sender for sender, _ in islice(marked, 1, None))
