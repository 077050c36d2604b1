-- Put a job on the queue, or among those that are due at a time, and look at it.
-- It is Lua because whether there is room, and whether the same launch was here before, must still be so when the job
-- is written: of two requests at a time only one may make it.
--
-- requires:   query
-- constants:  QUEUE
--
-- KEYS        none
-- ARGV[1]     id of the job
-- ARGV[2]     how many jobs may wait
-- ARGV[3]     Unix time in seconds when it is due, or '' for now
-- ARGV[4..]   its hash: name, value, name, value, …
-- answer      {1 if it is new, otherwise 0; a query result with its row}; nil if too many wait

local id, max_waiting, due = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local job, queue = 'rq:job:' .. id, 'rq:queue:' .. QUEUE

local is_new = redis.call('EXISTS', job) == 0
if is_new then
    if redis.call('LLEN', queue) >= max_waiting then return false end
    redis.call('HSET', job, unpack(ARGV, 4))
    redis.call('SADD', 'rq:queues', queue)
    if due == '' then
        redis.call('RPUSH', queue, id)
    else
        redis.call('ZADD', 'rq:scheduled:' .. QUEUE, due, id)
    end
    index(id)
end

drop_expired()
local rows = rows_of({id}, true)
return {is_new and 1 or 0, query_result(rows, #rows, '')}
