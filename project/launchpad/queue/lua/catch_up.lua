-- Bring into the index what has expired, and what RQ's own workers and commands have changed, which do not know of it.
-- It looks at the jobs that they may have changed: those that waited longest, and those that run. What has expired goes
-- too, so that little is left for whoever looks next.
-- It is Lua because a job may change between a look at its hash and one at its entry, and for one round trip.
--
-- requires:   index
-- constants:  PREFIX
--
-- KEYS        none
-- ARGV        none
-- answer      nil

local MAX_WAITING = 100 -- jobs of the queue's beginning

drop_expired()
local ids = redis.call('ZRANGE', PREFIX .. 'waiting', 0, MAX_WAITING - 1)
for _, id in ipairs(redis.call('ZRANGE', PREFIX .. 'running', 0, -1)) do table.insert(ids, id) end
for _, id in ipairs(ids) do
    local state = redis.call('HGET', 'rq:job:' .. id, 'status')
    local entry = redis.call('HGET', PREFIX .. 'entries', id) or ''
    if state ~= entry:match('^%S+') then index(id) end
end
