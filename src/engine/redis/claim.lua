-- Claims departures that were held back: whoever gets one tells it, and nobody else.
--
-- KEYS  1 holds  sorted set: "TOPIC\nEDGE" -> time in milliseconds from which it may
--                be told; an entry goes when somebody returns (sync.lua)
--       2 memo   the answer to this request, should it be lost
-- ARGV  entries
-- Returns 1 or 0 for each.

if redis.replicate_commands then redis.replicate_commands() end

local before = redis.call('GET', KEYS[2])
if before then return cjson.decode(before) end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers = {}
for i, entry in ipairs(ARGV) do
    local due = redis.call('ZSCORE', KEYS[1], entry)
    if due and tonumber(due) <= now then
        redis.call('ZREM', KEYS[1], entry)
        answers[i] = 1
    else
        answers[i] = 0
    end
end
redis.call('SET', KEYS[2], cjson.encode(answers), 'EX', 900)
return answers
