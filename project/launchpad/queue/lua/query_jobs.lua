-- Look at some jobs, leaving out those that do not exist. Of a single one, the answer has the arguments, too.
-- It is Lua because all parts of the answer are of one moment, and for one round trip.
--
-- requires:   query
--
-- KEYS        none
-- ARGV[1]     function whose jobs are counted, or '' for all
-- ARGV[2..]   ids of the jobs
-- answer      a query result, see query.lua

local ids = {unpack(ARGV, 2)}

drop_expired()
local rows = rows_of(ids, #ids == 1)
return query_result(rows, #rows, ARGV[1])
