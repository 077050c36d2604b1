-- Write what a job tells of itself, its progress above all, unless it was deleted.
-- It is Lua because a job that is deleted between a look and the write would come back, with nothing but this.
--
-- constants:  CHANGES PROGRESS
--
-- KEYS        none
-- ARGV[1]     key of the job
-- ARGV[2]     its meta, JSON
-- answer      nil

if redis.call('EXISTS', ARGV[1]) == 1 then
    redis.call('HSET', ARGV[1], 'meta', ARGV[2])
    redis.call('PUBLISH', CHANGES, PROGRESS)
end
