"""The index of jobs: what makes "all jobs, newest first, page 7" one round trip, whatever their number.

RQ keeps a queue, and a registry per state ordered by expiry; none of them tells all jobs by age, and `stopped` has
no registry of its own. So every job is also a member of some sorted sets, scored by the time of its launch: all jobs,
those of its state, those of its function, those of both, and for the search, those with each word of its arguments;
ids are found by how they begin. A set per word, and not a scan: a scan of 100,000 jobs would stop Redis for everybody.

The index is never the truth: `index(id)` derives a job's entries anew from the hash that RQ keeps for it. It runs in
the transaction of each change of state (see `Job`), so the two cannot differ; what disappears by itself (a job's time
to live, RQ's clean-up, a key deleted by hand) is noticed and dropped by the next reader, and what RQ's own workers
change is seen within a second (see `catch_up`). It is Lua because it must be one step between reading and writing.
"""

from datetime import datetime
from typing import Any, NamedTuple

from redis import Redis
from redis.commands.core import Script
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.utils import now

from launchpad.queue.estimates import Outlook
from launchpad.queue.serialize import FIELDS
from launchpad.queue.states import STATES

QUEUE = "default"
CHANGES = "rq:pubsub:launchpad"  # the channel on which each change of a job is said
RUNNING = "rq:launchpad:running"  # ids of running jobs, by the time of their start in microseconds
MAX_ATTEMPTS = 20  # of a job whose times are kept

LIBRARY = """
local root = 'rq:launchpad:'

local moment
local function now()  -- in microseconds
    moment = moment or redis.call('TIME')
    return moment[1] * 1000000 + moment[2]
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

local function about(description)  -- "wait 3": function, words
    local name, arguments = description:match('^(%S*) ?(.*)$')
    local ok, values = pcall(cjson.decode, arguments)
    return table.concat({name, unpack(values_of(ok and values or arguments, {}))}, ' ')
end

local function sets(entry)
    local state, name, words = entry:match('^(%S+) (%S*) ?(.*)$')
    local names = {'jobs', 'state:' .. state, 'function:' .. name, 'both:' .. state .. ':' .. name}
    for word in words:gmatch('%S+') do table.insert(names, 'word:' .. word) end
    return names
end

local function name_of(entry) return entry:match('^%S+ (%S*)') end

local function forget(id)
    local entry = redis.call('HGET', root .. 'entries', id)
    if not entry then return end
    for _, set in ipairs(sets(entry)) do redis.call('ZREM', root .. set, id) end
    local others = {'ids', 'waiting', 'waiting:' .. name_of(entry), 'running', 'expiring'}
    for _, set in ipairs(others) do redis.call('ZREM', root .. set, id) end
    redis.call('HDEL', root .. 'entries', id)
    redis.call('PUBLISH', 'CHANGES', '')
end

local function remember(name, took)  -- how long a worker was busy: the mean of the last twenty times or so
    local number, mean = (redis.call('HGET', root .. 'durations', name) or '0 0'):match('(%S+) (%S+)')
    number = math.min(number + 1, 20)
    redis.call('HSET', root .. 'durations', name, number .. ' ' .. mean + (took - mean) / number)
end

-- What a function and its arguments are called does not change, so only the state's sets do: a job costs Redis little.
local function index(id)
    local key = 'rq:job:' .. id
    local log = root .. 'log:' .. id
    local job = redis.call('HMGET', key, 'status', 'description', 'created_at')
    local state = job[1]
    if not (state and job[2] and job[3]) then
        redis.call('DEL', log)
        return forget(id)
    end
    local entry = redis.call('HGET', root .. 'entries', id)  -- "finished wait 3": state, function, words
    local before, rest = (entry or ''):match('^(%S+) (.*)$')
    rest = rest or about(job[2])
    local name = rest:match('^%S*')
    if state ~= before then
        local launched = before and redis.call('ZSCORE', root .. 'jobs', id) or now()
        if before then
            redis.call('ZREM', root .. 'state:' .. before, id)
            redis.call('ZREM', root .. 'both:' .. before .. ':' .. name, id)
            redis.call('ZADD', root .. 'state:' .. state, launched, id)
            redis.call('ZADD', root .. 'both:' .. state .. ':' .. name, launched, id)
        else
            redis.call('ZADD', root .. 'ids', 0, id)
            for _, set in ipairs(sets(state .. ' ' .. rest)) do redis.call('ZADD', root .. set, launched, id) end
        end
        redis.call('HSET', root .. 'entries', id, state .. ' ' .. rest)
        if before == 'queued' then
            redis.call('ZREM', root .. 'waiting', id)
            redis.call('ZREM', root .. 'waiting:' .. name, id)
        elseif before == 'started' then
            local began = redis.call('ZSCORE', root .. 'running', id)
            redis.call('ZREM', root .. 'running', id)
            if began and state ~= 'stopped' and job[2]:match('^%S+ {') then  -- a job of ours, that nobody cut short
                remember(name, now() - began)
            end
        end
        if state == 'queued' then
            local waiting = now()
            redis.call('ZADD', root .. 'waiting', waiting, id)
            redis.call('ZADD', root .. 'waiting:' .. name, waiting, id)
        elseif state == 'started' then
            redis.call('ZADD', root .. 'running', now(), id)
        end
    end
    redis.call('PUBLISH', 'CHANGES', '')
    local ttl = redis.call('PTTL', key)
    if ttl > 0 then
        redis.call('ZADD', root .. 'expiring', now() + ttl * 1000, id)
        redis.call('PEXPIRE', log, ttl)
    elseif redis.call('ZREM', root .. 'expiring', id) == 1 then
        redis.call('PERSIST', log)
    end
end

local function drop_expired()  -- some of them: all at once, after a quiet week, would keep everybody waiting
    local ids = redis.call('ZRANGE', root .. 'expiring', '-inf', now(), 'BYSCORE', 'LIMIT', 0, 500)
    for _, id in ipairs(ids) do index(id) end
end
""".replace("CHANGES", CHANGES)

INDEX = LIBRARY + "index(ARGV[1])"


def _script(text: str) -> Script:
    """Make a script that Redis is sent once, and then told by name. Each call says which connection."""
    return Script(None, text.encode())  # type: ignore[arg-type]


# ARGV: a job's key, a value. A job that was deleted while it runs would come back with nothing but this.
SAVE_META = f"""
if redis.call('EXISTS', ARGV[1]) == 1 then
    redis.call('HSET', ARGV[1], 'meta', ARGV[2])
    redis.call('PUBLISH', '{CHANGES}', '')
end
"""

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

# ARGV: a sorted set, a search, a launch time, a number. ResponseCache ids and launch times, from that time back.
_BEFORE = (
    LIBRARY
    + _SEARCH
    + """
local set = search(ARGV[1], ARGV[2])
local from = '(' .. ARGV[3]
local ids = redis.call('ZRANGE', root .. set, from, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[4], 'WITHSCORES')
redis.call('DEL', root .. 'found')
return ids
"""
)

# Asked is a function whose jobs are counted, or "" for all; then a sorted set, a search, the first and the last rank;
# or "" and ids.
# Answers {rows, their number in all, counts by state, workers, busy workers, functions with their durations,
# running jobs}; in a row is how many jobs of each of these functions wait in front. Of a single id, it has the
# arguments, too.
_LOOK = (
    LIBRARY
    + _SEARCH
    + """
local function look(asked)

drop_expired()

local queued = false  -- whether one of the rows waits

local function rows(ids)
    local found = {}
    for _, id in ipairs(ids) do
        if redis.call('EXISTS', 'rq:job:' .. id) == 1 then
            local rank = redis.call('ZRANK', root .. 'waiting', id)
            local scheduled = redis.call('ZSCORE', 'rq:scheduled:QUEUE', id)
            table.insert(found, {
                id, rank and rank + 1, redis.call('ZSCORE', root .. 'expiring', id), scheduled, {},
                redis.call('HMGET', 'rq:job:' .. id, FIELDS),
                redis.call('XREVRANGE', 'rq:results:' .. id, '+', '-', 'COUNT', 1),
                asked[2] == '' and #asked == 3 and redis.call('HGET', 'rq:job:' .. id, 'data'),
            })
            queued = queued or rank
        else
            index(id)
        end
    end
    return found
end

local found, total
if asked[2] == '' then
    found = rows({unpack(asked, 3)})
    total = #found
else
    repeat  -- what has gone without a word is dropped, and the page is filled up
        local set = search(asked[2], asked[3])
        local ids = redis.call('ZRANGE', root .. set, asked[4], asked[5], 'REV')
        total = redis.call('ZCARD', root .. set)
        found = rows(ids)
    until #found == #ids
    redis.call('DEL', root .. 'found')
end

local counts = {}
for i, state in ipairs({STATES}) do
    local set = asked[1] == '' and 'state:' .. state or 'both:' .. state .. ':' .. asked[1]
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

local durations, running = {}, {}
if queued and workers > 0 then
    durations = redis.call('HGETALL', root .. 'durations')
    for i = 1, #durations, 2 do
        local set = root .. 'waiting:' .. durations[i]
        local any = redis.call('EXISTS', set) == 1
        for _, row in ipairs(found) do
            local since = any and row[2] and redis.call('ZSCORE', root .. 'waiting', row[1])
            table.insert(row[5], since and redis.call('ZCOUNT', set, '-inf', '(' .. since) or 0)
        end
    end
    for _, id in ipairs(redis.call('ZRANGE', root .. 'state:started', 0, -1)) do
        local name = name_of(redis.call('HGET', root .. 'entries', id) or 'started ')
        local elapsed = now() - (redis.call('ZSCORE', root .. 'running', id) or now())
        table.insert(running, {name, elapsed, redis.call('HGET', 'rq:job:' .. id, 'meta')})
    end
end
return {found, total, counts, workers, busy, durations, running}

end
""".replace("STATES", str(STATES)[1:-1])
    .replace("FIELDS", str(FIELDS)[1:-1])
    .replace("QUEUE", QUEUE)
)
_VIEW = _script(_LOOK + "return look(ARGV)")

# ARGV: a job's id, how many jobs may wait, the Unix time when it is due, or "" for now, then its hash.
# Answers whether it is a new one, and a look at it; or nothing, if too many wait.
_LAUNCH = _script(
    _LOOK
    + """
local id, limit, due = unpack(ARGV)
local job, queue = 'rq:job:' .. id, 'rq:queue:QUEUE'
local new = redis.call('EXISTS', job) == 0
if new then
    if redis.call('LLEN', queue) >= tonumber(limit) then return false end
    redis.call('HSET', job, unpack(ARGV, 4))
    redis.call('SADD', 'rq:queues', queue)
    if due == '' then redis.call('RPUSH', queue, id) else redis.call('ZADD', 'rq:scheduled:QUEUE', due, id) end
    index(id)
end
return {new and 1 or 0, look({'', '', id})}
""".replace("QUEUE", QUEUE)
)


# RQ's own workers and commands do not know of the index: this looks at what they may have changed, the jobs that waited
# longest, and those that run. What has expired goes too, so that little is left for whoever looks next.
_CATCH_UP = _script(
    LIBRARY
    + """
drop_expired()
local ids = redis.call('ZRANGE', root .. 'waiting', 0, 99)
for _, id in ipairs(redis.call('ZRANGE', root .. 'running', 0, -1)) do table.insert(ids, id) end
for _, id in ipairs(ids) do
    local state = redis.call('HGET', 'rq:job:' .. id, 'status')
    if state ~= (redis.call('HGET', root .. 'entries', id) or ''):match('^%S+') then index(id) end
end
"""
)


class Row(NamedTuple):
    """What the index knows of a job: its place in the queue, from 1, and Unix times; `starts` is an estimate."""

    id: str
    position: int | None
    expires: float | None
    scheduled: float | None
    starts: float | None
    fields: list[bytes | None]
    results: list[Any]
    data: bytes | None


class QueryResult:
    """What one look at the index found: the asked rows, and what the whole of it holds."""

    def __init__(self, answer: list[Any]):
        found, self.total, counts, self.workers, self.busy, durations, running = answer
        outlook = Outlook(self.workers, durations, running)
        self.rows = [
            Row(
                id.decode(),
                position,
                float(expires) / 1e6 if expires else None,
                float(due) if due else None,
                outlook.start(position, ahead) if position else None,
                *read,
            )
            for id, position, expires, due, ahead, *read in found
        ]
        self.counts: dict[str, int] = dict(zip(STATES, counts, strict=True))


def query_page(
    connection: Redis, state: str | None, function: str | None, text: str, first: int, last: int
) -> QueryResult:
    """Look at the jobs of rank `first` to `last` (0 is the newest) in one round trip; count those of the function."""
    return QueryResult(_VIEW(args=[function or "", _set(state, function), text, first, last], client=connection))


def ids_before(
    connection: Redis, state: str | None, function: str | None, text: str, launched: str, number: int
) -> list[tuple[str, str]]:
    """Tell ids and launch times, newest first, of jobs that were launched before a time; "+inf" begins."""
    found = connection.eval(_BEFORE, 0, _set(state, function), text, launched, number)
    texts = [item.decode() for item in found]
    return list(zip(texts[::2], texts[1::2], strict=True))


def query_jobs(connection: Redis, ids: list[str], function: str | None = None) -> QueryResult:
    """Look at the jobs with these ids, leaving out those that do not exist, in one round trip."""
    return QueryResult(_VIEW(args=[function or "", "", *ids], client=connection))


def enqueue(connection: Redis, job: RQJob, limit: int, at: datetime | None) -> tuple[bool, QueryResult | None]:
    """Put a job on the queue, or among those that are due at a time, in one round trip, and look at it.

    ResponseCache whether it is a new one; if as many as allowed wait already, there is nothing to look at.
    """
    job.enqueued_at, job._status = now(), JobStatus.SCHEDULED if at else JobStatus.QUEUED
    fields = [part for pair in job.to_dict().items() for part in pair]
    answer = _LAUNCH(args=[job.id, limit, at.timestamp() if at else "", *fields], client=connection)
    return (bool(answer[0]), QueryResult(answer[1])) if answer else (False, None)


def _set(state: str | None, function: str | None) -> str:
    """Name the sorted set of the jobs in this state and of this function."""
    if function:
        return f"both:{state}:{function}" if state else f"function:{function}"
    return f"state:{state}" if state else "jobs"


def index(connection: Redis, id: str) -> None:
    """Derive a job's entries in the index from its hash; with a pipeline, as a part of it."""
    # EVAL and not EVALSHA: a Redis that was restarted knows no script, and a transaction cannot load one.
    connection.eval(INDEX, 0, id)


def catch_up(connection: Redis) -> None:
    """Bring into the index what has expired, and what RQ's own workers have changed; to be called each second."""
    _CATCH_UP(client=connection)
