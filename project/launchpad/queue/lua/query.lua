-- What one look at the index answers: rows of jobs, and what the whole of it holds.
--
-- library
-- requires:   index
-- constants:  PREFIX QUEUE STATES FIELDS
--
-- A query result, in this order; `QueryResult` in index.py reads it:
--   rows       of the jobs that were asked for, as below
--   total      how many there are in all
--   counts     how many jobs are in each of STATES, in that order
--   workers    how many listen
--   busy       how many of these run a job
--   durations  function, "number mean", function, …: see index.lua; empty if nobody will use them
--   running    {function, microseconds since its start, meta} of each started job; empty likewise
-- A row:
--   id
--   position   in the queue, from 1, or nil
--   expires    Unix time in microseconds, or nil
--   scheduled  Unix time in seconds at which it will be queued, or nil
--   ahead      how many jobs of each function in durations wait in front of it; empty if nobody will use them
--   fields     the values of FIELDS in its hash
--   results    its latest result, as XREVRANGE tells it: none or one
--   data       what RQ will call, with all arguments; nil unless it was asked for

local ID, POSITION, AHEAD = 1, 2, 5

local function row_of(id, with_data)
    local key = 'rq:job:' .. id
    local rank = redis.call('ZRANK', PREFIX .. 'waiting', id)
    return {
        id,
        rank and rank + 1,
        redis.call('ZSCORE', PREFIX .. 'expiring', id),
        redis.call('ZSCORE', 'rq:scheduled:' .. QUEUE, id),
        {},
        redis.call('HMGET', key, unpack(FIELDS)),
        redis.call('XREVRANGE', 'rq:results:' .. id, '+', '-', 'COUNT', 1),
        with_data and redis.call('HGET', key, 'data'),
    }
end

-- Return the rows of those jobs that exist, and drop the others from the index. `with_data` is true or false: a list
-- that Redis answers ends before the first nil.
local function rows_of(ids, with_data)
    local rows = {}
    for _, id in ipairs(ids) do
        if redis.call('EXISTS', 'rq:job:' .. id) == 1 then
            table.insert(rows, row_of(id, with_data))
        else
            index(id)
        end
    end
    return rows
end

-- Count the jobs in each state, those of a function, or with '' all.
local function count_states(name)
    local counts = {}
    for i, state in ipairs(STATES) do
        local set = name == '' and 'state:' .. state or 'both:' .. state .. ':' .. name
        counts[i] = redis.call('ZCARD', PREFIX .. set)
    end
    return counts
end

-- A worker listens for commands as long as it lives; its hash stays for a minute and a half after a kill -9.
local function is_alive(worker_key)
    local channel = worker_key:gsub('worker', 'pubsub', 1)
    return redis.call('PUBSUB', 'NUMSUB', channel)[2] > 0
end

local function count_workers()
    local workers, busy = 0, 0
    for _, key in ipairs(redis.call('SMEMBERS', 'rq:workers:' .. QUEUE)) do
        if is_alive(key) then
            workers = workers + 1
            if redis.call('HGET', key, 'state') == 'busy' then busy = busy + 1 end
        end
    end
    return workers, busy
end

local function is_any_queued(rows)
    for _, row in ipairs(rows) do
        if row[POSITION] then return true end
    end
    return false
end

-- Add to each row how many jobs of a function wait in front of it.
local function add_ahead(rows, name)
    local key = PREFIX .. 'waiting:' .. name
    local is_any_waiting = redis.call('EXISTS', key) == 1
    for _, row in ipairs(rows) do
        local queued = is_any_waiting and row[POSITION] and redis.call('ZSCORE', PREFIX .. 'waiting', row[ID])
        table.insert(row[AHEAD], queued and redis.call('ZCOUNT', key, '-inf', '(' .. queued) or 0)
    end
end

local function running_jobs()
    local running = {}
    for _, id in ipairs(redis.call('ZRANGE', PREFIX .. 'state:started', 0, -1)) do
        local name = function_in_entry(redis.call('HGET', PREFIX .. 'entries', id) or 'started ')
        local elapsed = now() - (redis.call('ZSCORE', PREFIX .. 'running', id) or now())
        table.insert(running, {name, elapsed, redis.call('HGET', 'rq:job:' .. id, 'meta')})
    end
    return running
end

-- Make a query result; `name` is a function whose jobs are counted, or '' for all.
local function query_result(rows, total, name)
    local workers, busy = count_workers()
    local durations, running = {}, {}
    if workers > 0 and is_any_queued(rows) then -- somebody wants to know when a job will start
        durations = redis.call('HGETALL', PREFIX .. 'durations')
        for i = 1, #durations, 2 do add_ahead(rows, durations[i]) end
        running = running_jobs()
    end
    return {rows, total, count_states(name), workers, busy, durations, running}
end
