-- Write that a job which runs was interrupted, and may still clean up.
-- It is Lua because a job that is deleted between a look and the write would come back, with nothing but this.
--
-- constants:  CHANGES
--
-- KEYS        none
-- ARGV[1]     key of the job
-- answer      nil

if redis.call('HGET', ARGV[1], 'status') == 'started' then
    redis.call('HSET', ARGV[1], 'stopping', 1)
    redis.call('PUBLISH', CHANGES, '')
end
