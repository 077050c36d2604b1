"""The index of jobs: what makes "all jobs, newest first, page 7" one round trip, whatever their number.

RQ keeps a queue, and a registry per state ordered by expiry; none of them tells all jobs by age, and `stopped` has
no registry of its own. So every job is also a member of some sorted sets, scored by the time of its launch: all jobs,
those of its state, those of its function, those of both, and for the search, those with each word of its arguments;
ids are found by how they begin. A set per word, and not a scan: a scan of 100,000 jobs would stop Redis for everybody.

The index is never the truth: `index(id)` derives a job's entries anew from the hash that RQ keeps for it. It runs in
the transaction of each change of state (see `Job`), so the two cannot differ; what disappears by itself (a job's time
to live, RQ's clean-up, a key deleted by hand) is noticed and dropped by the next reader. It is Lua because it must be
one step between reading and writing.
"""

from typing import Any, NamedTuple

from redis import Redis
from redis.client import Pipeline
from rq import Queue, Retry
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.serializers import JSONSerializer
from rq.utils import now

from launchpad.catalog import Function
from launchpad.representation import describe

QUEUE = "default"
STATES = ("queued", "scheduled", "deferred", "started", "finished", "failed", "stopped", "canceled")

_LIBRARY = """
local root = 'rq:launchpad:'

local function now()  -- in microseconds
    local time = redis.call('TIME')
    return time[1] * 1000000 + time[2]
end

local function words_of(text, words)  -- bytes above 127 are letters, too: of other alphabets than ours
    for word in text:lower():gmatch('[%w_\\128-\\255]+') do
        if not words[word] and #words < 64 then
            table.insert(words, word)
            words[word] = true
        end
    end
    return words
end

local function values_of(value, words)
    if type(value) == 'table' then
        for _, item in pairs(value) do values_of(item, words) end
    elseif value ~= cjson.null then
        words_of(tostring(value), words)
    end
    return words
end

local function entry_of(state, description)  -- "finished wait 3": state, function, words
    local name, arguments = description:match('^(%S*) ?(.*)$')
    local ok, values = pcall(cjson.decode, arguments)
    return table.concat({state, name, unpack(values_of(ok and values or arguments, {}))}, ' ')
end

local function sets(entry)
    local state, name, words = entry:match('^(%S+) (%S*) ?(.*)$')
    local names = {'jobs', 'state:' .. state, 'function:' .. name, 'both:' .. state .. ':' .. name}
    for word in words:gmatch('%S+') do table.insert(names, 'word:' .. word) end
    return names
end

local function forget(id)
    local entry = redis.call('HGET', root .. 'entries', id)
    if not entry then return end
    for _, set in ipairs(sets(entry)) do redis.call('ZREM', root .. set, id) end
    for _, set in ipairs({'ids', 'waiting', 'expiring'}) do redis.call('ZREM', root .. set, id) end
    redis.call('HDEL', root .. 'entries', id)
end

local function index(id)
    local key = 'rq:job:' .. id
    local log = root .. 'log:' .. id
    local job = redis.call('HMGET', key, 'status', 'description', 'created_at')
    if not (job[1] and job[2] and job[3]) then
        redis.call('DEL', log)
        return forget(id)
    end
    local entry = entry_of(job[1], job[2])
    local launched = redis.call('ZSCORE', root .. 'jobs', id) or now()
    local waiting = redis.call('ZSCORE', root .. 'waiting', id) or now()
    forget(id)
    redis.call('HSET', root .. 'entries', id, entry)
    redis.call('ZADD', root .. 'ids', 0, id)
    for _, set in ipairs(sets(entry)) do redis.call('ZADD', root .. set, launched, id) end
    if job[1] == 'queued' then redis.call('ZADD', root .. 'waiting', waiting, id) end
    local ttl = redis.call('PTTL', key)
    if ttl > 0 then
        redis.call('ZADD', root .. 'expiring', now() + ttl * 1000, id)
        redis.call('PEXPIRE', log, ttl)
    else
        redis.call('PERSIST', log)
    end
end
"""

_INDEX = _LIBRARY + "index(ARGV[1])"

_SEARCH = """
local function search(set, text)  -- those with all the words, or whose id begins so
    if text == '' then return set end
    local words = words_of(text, {})
    local sources = {root .. set}
    for _, word in ipairs(words) do table.insert(sources, root .. 'word:' .. word) end
    local ids = {}
    if #text >= 4 and not text:find('[^%w-]') then
        ids = redis.call('ZRANGE', root .. 'ids', '[' .. text, '(' .. text .. '~', 'BYLEX', 'LIMIT', 0, 1000)
    end
    if #words == 1 and #ids == 0 and set == 'jobs' then return 'word:' .. words[1] end
    redis.call('DEL', root .. 'found')
    if #words > 0 then
        table.insert(sources, 'AGGREGATE')
        table.insert(sources, 'MIN')  -- each has the same score, the time of the launch
        redis.call('ZINTERSTORE', root .. 'found', #sources - 2, unpack(sources))
    end
    for _, id in ipairs(ids) do
        local launched = redis.call('ZSCORE', root .. set, id)
        if launched then redis.call('ZADD', root .. 'found', launched, id) end
    end
    return 'found'
end
"""

# ARGV: a sorted set, a search, a launch time, a number. Answers ids and launch times, from that time back.
_BEFORE = (
    _LIBRARY
    + _SEARCH
    + """
local set = search(ARGV[1], ARGV[2])
local from = '(' .. ARGV[3]
local ids = redis.call('ZRANGE', root .. set, from, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[4], 'WITHSCORES')
redis.call('DEL', root .. 'found')
return ids
"""
)

# ARGV: a function whose jobs are counted, or "" for all; then a sorted set, a search, the first and the last rank;
# or "" and ids.
# Answers {rows, their number in all, counts by state, workers, busy workers}.
_VIEW = (
    _LIBRARY
    + _SEARCH
    + """
for _, id in ipairs(redis.call('ZRANGE', root .. 'expiring', '-inf', now(), 'BYSCORE')) do index(id) end

local function rows(ids)
    local found = {}
    for _, id in ipairs(ids) do
        if redis.call('EXISTS', 'rq:job:' .. id) == 1 then
            local rank = redis.call('ZRANK', root .. 'waiting', id)
            local scheduled = redis.call('ZSCORE', 'rq:scheduled:QUEUE', id)
            table.insert(found, {id, rank and rank + 1, redis.call('ZSCORE', root .. 'expiring', id), scheduled})
        else
            index(id)
        end
    end
    return found
end

local found, total
if ARGV[2] == '' then
    found = rows({unpack(ARGV, 3)})
    total = #found
else
    repeat  -- what has gone without a word is dropped, and the page is filled up
        local set = search(ARGV[2], ARGV[3])
        local ids = redis.call('ZRANGE', root .. set, ARGV[4], ARGV[5], 'REV')
        total = redis.call('ZCARD', root .. set)
        found = rows(ids)
    until #found == #ids
    redis.call('DEL', root .. 'found')
end

local counts = {}
for i, state in ipairs({STATES}) do
    local set = ARGV[1] == '' and 'state:' .. state or 'both:' .. state .. ':' .. ARGV[1]
    counts[i] = redis.call('ZCARD', root .. set)
end

local workers, busy = 0, 0
for _, key in ipairs(redis.call('SMEMBERS', 'rq:workers:QUEUE')) do
    -- A worker listens for commands as long as it lives; its hash stays for a minute and a half after a kill -9.
    if redis.call('PUBSUB', 'NUMSUB', (key:gsub('worker', 'pubsub', 1)))[2] > 0 then
        workers = workers + 1
        if redis.call('HGET', key, 'state') == 'busy' then busy = busy + 1 end
    end
end
return {found, total, counts, workers, busy}
""".replace("STATES", ", ".join(f"'{state}'" for state in STATES)).replace("QUEUE", QUEUE)
)


class Row(NamedTuple):
    """What the index knows of a job: its place in the queue, from 1, and Unix times."""

    id: str
    position: int | None
    expires: float | None
    scheduled: float | None


class View:
    """What one look at the index found: the asked rows, and what the whole of it holds."""

    def __init__(self, answer: list[Any]):
        found, self.total, counts, self.workers, self.busy = answer
        self.rows = [
            Row(id.decode(), position, float(expires) / 1e6 if expires else None, float(due) if due else None)
            for id, position, expires, due in found
        ]
        self.counts: dict[str, int] = dict(zip(STATES, counts, strict=True))


def view_page(connection: Redis, state: str | None, function: str | None, text: str, first: int, last: int) -> View:
    """Look at the jobs of rank `first` to `last` (0 is the newest) in one round trip; count those of the function."""
    return View(connection.eval(_VIEW, 0, function or "", _set(state, function), text, first, last))


def ids_before(
    connection: Redis, state: str | None, function: str | None, text: str, launched: str, number: int
) -> list[tuple[str, str]]:
    """Tell ids and launch times, newest first, of jobs that were launched before a time; "+inf" begins."""
    found = connection.eval(_BEFORE, 0, _set(state, function), text, launched, number)
    texts = [item.decode() for item in found]
    return list(zip(texts[::2], texts[1::2], strict=True))


def view_jobs(connection: Redis, ids: list[str], function: str | None = None) -> View:
    """Look at the jobs with these ids, leaving out those that do not exist, in one round trip."""
    return View(connection.eval(_VIEW, 0, function or "", "", *ids))


def _set(state: str | None, function: str | None) -> str:
    """Name the sorted set of the jobs in this state and of this function."""
    if function:
        return f"both:{state}:{function}" if state else f"function:{function}"
    return f"state:{state}" if state else "jobs"


def index(connection: Redis, id: str) -> None:
    """Derive a job's entries in the index from its hash; with a pipeline, as a part of it."""
    # EVAL and not EVALSHA: a Redis that was restarted knows no script, and a transaction cannot load one.
    connection.eval(_INDEX, 0, id)


def queue_of(connection: Redis) -> Queue:
    """The one queue. With two, RQ takes jobs in a way that loses one when a worker is killed at that moment."""
    return Queue(QUEUE, connection=connection, job_class=Job, serializer="json")


class Job(RQJob):
    """RQ's job, which keeps itself in the index, and whose data is JSON: a pickle would run code in every reader."""

    @classmethod
    def of(cls, function: Function, arguments: dict[str, Any], id: str, connection: Redis) -> RQJob:
        """Make a job, not yet queued, of a function and its parsed arguments."""
        return cls.create(
            "launchpad.runner.run",
            args=[function.module, function.name, arguments],
            id=id,
            origin=QUEUE,
            connection=connection,
            description=describe(function.name, arguments),
            timeout=function.timeout,
            result_ttl=function.result_ttl,
            failure_ttl=function.failure_ttl,
            retry=Retry(function.retries) if function.retries else None,
            serializer="json",
        )

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: Any = None):
        super().__init__(id, connection, serializer or JSONSerializer)

    def set_status(self, status: JobStatus, pipeline: Pipeline | None = None) -> None:
        """Write the state, here and in the index."""
        if status == JobStatus.STOPPED:
            self.ended_at = now()  # RQ saves it afterwards, but sets it for all other ends only
        super().set_status(status, pipeline)
        index(self.connection if pipeline is None else pipeline, self.id)

    def prepare_for_execution(self, worker_name: str, pipeline: Pipeline) -> None:
        """Write that the job has started, here and in the index."""
        super().prepare_for_execution(worker_name, pipeline)
        pipeline.persist(self.key)  # RQ does it too, but only after this, and the index reads the time to live
        index(self.connection if pipeline is None else pipeline, self.id)

    def retry(self, queue: Queue, pipeline: Pipeline) -> None:
        """Queue the job again, with what its process has saved; the worker's copy is older, and would be written."""
        self.get_meta()
        super().retry(queue, pipeline)

    def cleanup(self, ttl: int | None = None, pipeline: Pipeline | None = None, remove_from_queue: bool = True) -> None:
        """Set the time to live, here and in the index."""
        super().cleanup(ttl, pipeline, remove_from_queue)
        index(self.connection if pipeline is None else pipeline, self.id)

    def delete(self, pipeline: Pipeline | None = None, *args: Any, **kwargs: Any) -> None:
        """Delete the job, here and in the index."""
        super().delete(pipeline, *args, **kwargs)
        index(self.connection if pipeline is None else pipeline, self.id)
