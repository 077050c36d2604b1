-- Find the jobs of a set that were launched before a time, newest first.
-- It is Lua because the search keeps what it finds in Redis, where two searches at a time must not meet.
--
-- requires:   search
--
-- KEYS        none
-- ARGV[1]     set: jobs, state:S, function:F or both:S:F
-- ARGV[2]     text of a search, or ''
-- ARGV[3]     Unix time in microseconds, as an earlier answer has it, or +inf
-- ARGV[4]     how many jobs, at most
-- answer      id, time of launch, id, time of launch, …

local key = search(ARGV[1], ARGV[2])
local before = '(' .. ARGV[3]
local ids = redis.call('ZRANGE', key, before, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[4], 'WITHSCORES')
redis.call('DEL', FOUND)
return ids
