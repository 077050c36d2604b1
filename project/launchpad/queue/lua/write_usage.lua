-- Write what a job has used that has failed or was stopped, unless this run was given up, or the job deleted.
-- It is Lua because a job that is deleted between a look and the write would come back, with nothing but this.
--
-- constants:  QUEUE
--
-- KEYS        none
-- ARGV[1]     id of the job
-- ARGV[2]     id of the run, which RQ calls an execution
-- ARGV[3]     what it used, as JSON
-- answer      nil

local job = 'rq:job:' .. ARGV[1]

if redis.call('EXISTS', job) == 1 and redis.call('ZSCORE', 'rq:wip:' .. QUEUE, ARGV[1] .. ':' .. ARGV[2]) then
    redis.call('HSET', job, 'usage', ARGV[3])
end
