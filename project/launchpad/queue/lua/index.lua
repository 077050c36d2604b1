-- The index of jobs: what Redis keeps beside RQ's own keys, so that lists, counts and the search need no scan.
-- It is derived from the hash of each job, `rq:job:<id>`; whatever changes that calls `index(id)` in the same step.
--
-- library
-- requires:   words
-- constants:  PREFIX CHANGES LOG_PREFIX
--
-- Its keys, below PREFIX. Times are Unix times in microseconds. S is a state, F a function, W a word.
--   entries               hash: id -> the job's entry, "finished wait 3": its state, its function, its words
--   jobs, state:S, function:F, both:S:F, word:W
--                         sorted sets: ids by the time of their launch
--   ids                   sorted set: all ids with the same score, in which Redis finds those that begin with something
--   waiting, waiting:F    sorted sets: ids of queued jobs by the time they were queued
--   running               sorted set: ids of started jobs by the time of their start
--   expiring              sorted set: ids of jobs with a time to live by the time at which that is over
--   durations             hash: function -> "20 3e6": number of runs, at most MAX_RUNS, and their mean duration
--   found                 sorted set: what a search has found, until the script ends (see search.lua)
-- Each change of a job is published on the channel CHANGES.

local MAX_RUNS = 20 -- of which the mean is taken, or so: an older one counts less and less
local MAX_EXPIRED = 500 -- that one script drops: all at once, after a quiet week, would keep everybody waiting

-- Return the time in microseconds, the same throughout a script.
local time_of_script
local function now()
    time_of_script = time_of_script or redis.call('TIME')
    return time_of_script[1] * 1000000 + time_of_script[2]
end

-- Return what stays the same in a job's entry, its function and words, of its description.
local function fixed_part_of_entry(description)
    local name, arguments = description:match('^(%S*) ?(.*)$')
    return table.concat({name, unpack(words_of_arguments(arguments))}, ' ')
end

local function function_in_entry(entry) return entry:match('^%S+ (%S*)') end

-- Return the keys of the sorted sets by the time of the launch that a job with this entry belongs to.
local function sets_of_entry(entry)
    local state, name, words = entry:match('^(%S+) (%S*) ?(.*)$')
    local keys = {
        PREFIX .. 'jobs',
        PREFIX .. 'state:' .. state,
        PREFIX .. 'function:' .. name,
        PREFIX .. 'both:' .. state .. ':' .. name,
    }
    for word in words:gmatch('%S+') do table.insert(keys, PREFIX .. 'word:' .. word) end
    return keys
end

local function remove_from_index(id)
    local entry = redis.call('HGET', PREFIX .. 'entries', id)
    if not entry then return end
    for _, key in ipairs(sets_of_entry(entry)) do redis.call('ZREM', key, id) end
    for _, set in ipairs({'ids', 'waiting', 'waiting:' .. function_in_entry(entry), 'running', 'expiring'}) do
        redis.call('ZREM', PREFIX .. set, id)
    end
    redis.call('HDEL', PREFIX .. 'entries', id)
    redis.call('PUBLISH', CHANGES, '')
end

local function add_to_index(id, entry)
    local launched = now()
    redis.call('ZADD', PREFIX .. 'ids', 0, id)
    for _, key in ipairs(sets_of_entry(entry)) do redis.call('ZADD', key, launched, id) end
end

-- What a function and its arguments are called does not change, so only the state's sets do: a job costs Redis little.
local function move_in_index(id, name, before, after)
    local launched = redis.call('ZSCORE', PREFIX .. 'jobs', id) or now()
    redis.call('ZREM', PREFIX .. 'state:' .. before, id)
    redis.call('ZREM', PREFIX .. 'both:' .. before .. ':' .. name, id)
    redis.call('ZADD', PREFIX .. 'state:' .. after, launched, id)
    redis.call('ZADD', PREFIX .. 'both:' .. after .. ':' .. name, launched, id)
end

local function record_duration(name, duration)
    local number, mean = (redis.call('HGET', PREFIX .. 'durations', name) or '0 0'):match('(%S+) (%S+)')
    number = math.min(number + 1, MAX_RUNS)
    redis.call('HSET', PREFIX .. 'durations', name, number .. ' ' .. mean + (duration - mean) / number)
end

local function leave_queue(id, name)
    redis.call('ZREM', PREFIX .. 'waiting', id)
    redis.call('ZREM', PREFIX .. 'waiting:' .. name, id)
end

local function enter_queue(id, name)
    local queued = now()
    redis.call('ZADD', PREFIX .. 'waiting', queued, id)
    redis.call('ZADD', PREFIX .. 'waiting:' .. name, queued, id)
end

-- Note that a job does not run any more, and how long it ran; not of one that somebody cut short, nor of a job that is
-- not ours: whose arguments are no JSON.
local function end_run(id, name, state, description)
    local started = redis.call('ZSCORE', PREFIX .. 'running', id)
    redis.call('ZREM', PREFIX .. 'running', id)
    if started and state ~= 'stopped' and description:match('^%S+ {') then
        record_duration(name, now() - started)
    end
end

local function change_state(id, before, state, fixed_part, description)
    local name = fixed_part:match('^%S*')
    local entry = state .. ' ' .. fixed_part
    if before then move_in_index(id, name, before, state) else add_to_index(id, entry) end
    redis.call('HSET', PREFIX .. 'entries', id, entry)

    if before == 'queued' then leave_queue(id, name) end
    if before == 'started' then end_run(id, name, state, description) end
    if state == 'queued' then enter_queue(id, name) end
    if state == 'started' then redis.call('ZADD', PREFIX .. 'running', now(), id) end
end

-- Note when the job expires, and have its log expire then.
local function follow_time_to_live(id)
    local log = LOG_PREFIX .. id
    local milliseconds = redis.call('PTTL', 'rq:job:' .. id)
    if milliseconds > 0 then
        redis.call('ZADD', PREFIX .. 'expiring', now() + milliseconds * 1000, id)
        redis.call('PEXPIRE', log, milliseconds)
    elseif redis.call('ZREM', PREFIX .. 'expiring', id) == 1 then
        redis.call('PERSIST', log)
    end
end

-- Derive all that the index has of a job anew from its hash; of one that is gone, nothing stays.
local function index(id)
    local state, description, created_at =
        unpack(redis.call('HMGET', 'rq:job:' .. id, 'status', 'description', 'created_at'))
    if not (state and description and created_at) then
        redis.call('DEL', LOG_PREFIX .. id)
        remove_from_index(id)
        return
    end
    local entry = redis.call('HGET', PREFIX .. 'entries', id) or ''
    local before, fixed_part = entry:match('^(%S+) (.*)$')
    if state ~= before then
        change_state(id, before, state, fixed_part or fixed_part_of_entry(description), description)
    end
    redis.call('PUBLISH', CHANGES, '')
    follow_time_to_live(id)
end

-- Drop what has expired, which Redis does not tell; each reader does it first.
local function drop_expired()
    local key = PREFIX .. 'expiring'
    for _, id in ipairs(redis.call('ZRANGE', key, '-inf', now(), 'BYSCORE', 'LIMIT', 0, MAX_EXPIRED)) do index(id) end
end
