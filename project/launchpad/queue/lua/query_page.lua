-- Look at a page of the jobs of a set, newest first.
-- It is Lua because all parts of the answer are of one moment, and for one round trip.
--
-- requires:   search query
--
-- KEYS        none
-- ARGV[1]     function whose jobs are counted, or '' for all
-- ARGV[2]     set: jobs, state:S, function:F or both:S:F
-- ARGV[3]     text of a search, or ''
-- ARGV[4]     rank of the first job, from 0
-- ARGV[5]     rank of the last job
-- answer      a query result, see query.lua

local set, text, first, last = ARGV[2], ARGV[3], ARGV[4], ARGV[5]

drop_expired()
local rows, total
repeat -- what has gone without a word is dropped, and the page is filled up
    local key = search(set, text)
    local ids = redis.call('ZRANGE', key, first, last, 'REV')
    total = redis.call('ZCARD', key)
    rows = rows_of(ids, false)
until #rows == #ids
redis.call('DEL', FOUND)
return query_result(rows, total, ARGV[1])
