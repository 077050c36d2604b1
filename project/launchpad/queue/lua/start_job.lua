-- Take the next job from the queue and write that it has started.
-- It writes what RQ's `prepare_execution` and `prepare_job_execution` write, in RQ's words.
-- It is Lua because a job that was given up or deleted meanwhile must not start, and one that is taken must not be lost
-- when the worker ends before it has written that it started. RQ needs four round trips for it.
--
-- requires:   index
-- constants:  QUEUE ENDED MAX_ATTEMPTS
--
-- KEYS[1]     the queue
-- KEYS[2]     what was taken from the queue and has not started
-- ARGV[1]     name of the worker
-- ARGV[2]     id of the run, which RQ calls an execution
-- ARGV[3]     Unix time in seconds
-- ARGV[4]     the same time as RQ writes it
-- ARGV[5]     seconds for which a sign of life holds
-- ARGV[6]     id of a job that RQ has taken, after it waited; or ''
-- answer      {id of the job, its hash: name, value, name, value, …}; nil if there is none

local worker, run, time, time_text, ttl, given = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local worker_key = 'rq:worker:' .. worker
local runs_of_worker = worker_key .. ':executions'
local GRACE_SECONDS = 60 -- for which RQ keeps its lists of runs longer than the runs

-- Return the job that this run has started already: it is asked again, since the answer was lost.
local function started_before()
    for _, key in ipairs(redis.call('SMEMBERS', runs_of_worker)) do
        if key:sub(-#run) == run then return key:sub(1, -#run - 2) end
    end
end

-- Return the job's meta with one more attempt. Somebody else may have written what is there.
local function meta_with_attempt(job)
    local ok, meta = pcall(cjson.decode, redis.call('HGET', job, 'meta') or '{}')
    if not ok or type(meta) ~= 'table' then meta = {} end
    local attempts = type(meta.attempts) == 'table' and meta.attempts or {}
    while #attempts >= MAX_ATTEMPTS do table.remove(attempts, 1) end
    table.insert(attempts, {started_at = time_text})
    return cjson.encode({attempt = (tonumber(meta.attempt) or 0) + 1, attempts = attempts})
end

local function write_run(id)
    local key = id .. ':' .. run
    local run_key, runs_of_job = 'rq:execution:' .. key, 'rq:executions:' .. id
    redis.call('HSET', run_key, 'id', run, 'job_id', id, 'worker_name', worker, 'created_at', time,
        'last_heartbeat', time)
    redis.call('EXPIRE', run_key, ttl)
    redis.call('ZADD', runs_of_job, time + ttl + GRACE_SECONDS, run)
    redis.call('EXPIRE', runs_of_job, ttl + GRACE_SECONDS)
    redis.call('ZADD', 'rq:wip:' .. QUEUE, time + ttl, key)
    redis.call('SADD', runs_of_worker, key)
    redis.call('EXPIRE', runs_of_worker, ttl + GRACE_SECONDS)
end

local function start(id)
    local job = 'rq:job:' .. id
    write_run(id)
    redis.call('HSET', worker_key, 'state', 'busy')
    redis.call('HSET', job, 'status', 'started', 'started_at', time_text, 'last_heartbeat', time_text,
        'worker_name', worker, 'meta', meta_with_attempt(job))
    redis.call('HDEL', job, 'stopping', 'usage')
    redis.call('PERSIST', job)
    index(id)
end

-- Tell whether a job is still to be run: it exists, and has not started or ended since it was queued.
local function is_waiting(id)
    local state = redis.call('HGET', 'rq:job:' .. id, 'status')
    for _, ended in ipairs(ENDED) do
        if state == ended then return false end
    end
    return state and state ~= 'started'
end

-- Return the first job of the queue that still waits; those before it were given up or deleted.
local function take_from_queue()
    local id
    repeat id = redis.call('LPOP', KEYS[1]) until not id or is_waiting(id)
    return id
end

-- Return the job that RQ has taken, if it still waits.
local function take_given()
    redis.call('LREM', KEYS[2], 1, given)
    return is_waiting(given) and given
end

local id = started_before()
if not id then
    if given == '' then id = take_from_queue() else id = take_given() end
    if not id then return false end
    start(id)
end
return {id, redis.call('HGETALL', 'rq:job:' .. id)}
