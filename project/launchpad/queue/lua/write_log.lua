-- Append lines to the log of a job, and drop the oldest entries beyond its limits.
-- It is Lua because the same batch must not be written twice when only the answer was lost, and the log of a job that
-- is deleted meanwhile must not come back.
--
-- constants:  LOG_PREFIX MAX_LOG_LINES MAX_LOG_BYTES
--
-- KEYS        none
-- ARGV[1]     id of the job
-- ARGV[2]     id of the batch
-- ARGV[3]     how many lines were dropped before it
-- ARGV[4..]   of each entry: how many lines it has, and them as JSON; an entry without lines says that an attempt to
--             run the job has ended
-- answer      nil
--
-- The log is a stream. The id of an entry begins with the number of its last line, and it has the fields `lines`,
-- `batch` and `bytes`: the size of the log up to and with it.

local job, log, batch = 'rq:job:' .. ARGV[1], LOG_PREFIX .. ARGV[1], ARGV[2]

local function last_line_of(entry) return tonumber(entry[1]:match('%d+')) end
local function batch_of(entry) return entry[2][4] end
local function bytes_up_to(entry) return entry[2][6] end

local function append(last, bytes)
    for i = 4, #ARGV, 2 do
        last, bytes = last + ARGV[i], bytes + #ARGV[i + 1]
        redis.call('XADD', log, last .. '-*', 'lines', ARGV[i + 1], 'batch', batch, 'bytes', bytes)
    end
    return last, bytes
end

local function drop_oldest(last, bytes)
    while true do
        local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
        if last_line_of(oldest) > last - MAX_LOG_LINES and bytes - bytes_up_to(oldest) < MAX_LOG_BYTES then return end
        redis.call('XDEL', log, oldest[1])
    end
end

if redis.call('HEXISTS', job, 'status') == 0 then return end -- deleted meanwhile
local last, bytes = 0, 0
local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
if newest then
    if batch_of(newest) == batch then return end -- it is written, only the answer was lost
    last, bytes = last_line_of(newest), bytes_up_to(newest)
end
drop_oldest(append(last + ARGV[3], bytes))
local ttl = redis.call('PTTL', job)
if ttl > 0 then redis.call('PEXPIRE', log, ttl) end
