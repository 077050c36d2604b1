-- The search: jobs whose arguments have all of some words, or whose id begins with the text.
--
-- library
-- requires:   words index
-- constants:  PREFIX

local MIN_ID_BYTES = 4 -- from which on a text may be the beginning of an id
local MAX_IDS = 1000 -- found by how they begin
local FOUND = PREFIX .. 'found'

local function ids_that_begin_with(text)
    if #text < MIN_ID_BYTES or text:find('[^%w-]') then return {} end
    return redis.call('ZRANGE', PREFIX .. 'ids', '[' .. text, '(' .. text .. '~', 'BYLEX', 'LIMIT', 0, MAX_IDS)
end

-- Keep those jobs of a set in FOUND that have all the words.
local function find_words(key, words)
    local keys = {key}
    for _, word in ipairs(words) do table.insert(keys, PREFIX .. 'word:' .. word) end
    local arguments = {#keys, unpack(keys)}
    table.insert(arguments, 'AGGREGATE')
    table.insert(arguments, 'MIN') -- each has the same score, the time of the launch
    redis.call('ZINTERSTORE', FOUND, unpack(arguments))
end

-- Search in a set, named without the PREFIX, and return the key of a sorted set with what was found.
-- Whoever calls this deletes FOUND in the end.
local function search(set, text)
    if text == '' then return PREFIX .. set end
    local words = words_of_text(text)
    local ids = ids_that_begin_with(text)
    if #words == 1 and #ids == 0 and set == 'jobs' then return PREFIX .. 'word:' .. words[1] end

    redis.call('DEL', FOUND)
    if #words > 0 then find_words(PREFIX .. set, words) end
    for _, id in ipairs(ids) do
        local launched = redis.call('ZSCORE', PREFIX .. set, id)
        if launched then redis.call('ZADD', FOUND, launched, id) end
    end
    return FOUND
end
