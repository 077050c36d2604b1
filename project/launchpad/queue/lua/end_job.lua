-- Write that a job has finished, with its result, as RQ's `handle_job_success` does.
-- It is Lua because it must happen only while the job is ours: not if it was given up or deleted meanwhile.
--
-- requires:   index
-- constants:  QUEUE
--
-- KEYS        none
-- ARGV[1]     id of the job
-- ARGV[2]     id of the run, which RQ calls an execution
-- ARGV[3]     name of the worker
-- ARGV[4]     Unix time in seconds
-- ARGV[5]     the same time as RQ writes it
-- ARGV[6]     seconds that the job took
-- ARGV[7]     seconds for which it is kept, or -1 for ever
-- ARGV[8]     what the job used, as JSON
-- ARGV[9..]   the result as RQ writes it: name, value, name, value, …
-- answer      how many jobs depend on it; nil if it is not ours any more, and nothing was done

local id, run, worker, time, time_text, elapsed = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local ttl = tonumber(ARGV[7])
local job, worker_key, results = 'rq:job:' .. id, 'rq:worker:' .. worker, 'rq:results:' .. id
local key_of_run = id .. ':' .. run
local MAX_RESULTS = 10 -- that RQ keeps of a job, or some more

local function is_still_ours()
    return redis.call('EXISTS', job) == 1 and redis.call('ZREM', 'rq:wip:' .. QUEUE, key_of_run) == 1
end

local function count_for_worker()
    redis.call('HINCRBY', worker_key, 'successful_job_count', 1)
    redis.call('HINCRBYFLOAT', worker_key, 'total_working_time', elapsed)
end

local function write_result()
    redis.call('HSET', job, 'status', 'finished', 'ended_at', time_text, 'usage', ARGV[8])
    redis.call('XADD', results, 'MAXLEN', '~', MAX_RESULTS, '*', unpack(ARGV, 9))
    redis.call('ZADD', 'rq:finished:' .. QUEUE, ttl < 0 and '+inf' or time + ttl, id)
end

local function set_time_to_live()
    if ttl <= 0 then
        redis.call('PERSIST', results)
        return
    end
    for _, key in ipairs({job, job .. ':dependents', job .. ':dependencies', results}) do
        redis.call('EXPIRE', key, ttl)
    end
end

local function remove_run()
    redis.call('DEL', 'rq:execution:' .. key_of_run)
    redis.call('ZREM', 'rq:executions:' .. id, run)
    redis.call('SREM', worker_key .. ':executions', key_of_run)
end

if not is_still_ours() then return false end
count_for_worker()
write_result()
set_time_to_live()
remove_run()
index(id)
return redis.call('SCARD', job .. ':dependents')
