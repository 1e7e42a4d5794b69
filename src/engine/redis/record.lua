-- Gives an event the next place in the past of its channel, and tells the nodes.
--
-- KEYS  1 past    stream: ID -> m, the message as it is published. IDs are those of
--                 the events, without the zeros in front
--       2 bounds  hash: t newest event, f all events after this one are in the past,
--                 b bytes of them
--       3 began   milliseconds from which on pasts of this partition are known: a
--                 Redis that has lost everything begins anew
--       4 cached  the last event of a cache channel
-- ARGV  1 pub/sub topic, 2 command that publishes, 3 process, 4 its number of the
--       event, 5 socket that does not get it, or "-", 6 milliseconds that a cache
--       channel keeps it, or 0, 7 text of the event without an id
--       8 events, 9 bytes, 10 milliseconds that are kept
--      11 "1" when it may have been recorded already, because an answer was lost
-- Returns the id, or "" when it was recorded already.

if redis.replicate_commands then redis.replicate_commands() end

local past, bounds, began, cached = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local head = 'R' .. ARGV[3] .. ' ' .. ARGV[4] .. ' '
local max_events, max_bytes, age = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Of one width, so that texts have the order of the events.
local function id_of(ms, number) return string.format('%013.0f-%05.0f', ms, number) end

if ARGV[11] == '1' then
    for _, entry in ipairs(redis.call('XREVRANGE', past, '+', '-', 'COUNT', 1000)) do
        if string.sub(entry[2][2], 1, #head) == head then return '' end
    end
end

local known = redis.call('HMGET', bounds, 't', 'f', 'b')
local before, floor, bytes = known[1], known[2], tonumber(known[3] or '0')
if not before then
    -- Nothing was published for as long as anything is kept.
    redis.call('DEL', past)
    redis.call('SET', began, string.format('%.0f', now), 'NX')
    floor = id_of(math.max(tonumber(redis.call('GET', began)), now - age), 0)
    before, bytes = floor, 0
end
local ms, number = tonumber(string.sub(before, 1, 13)), tonumber(string.sub(before, 15))
if now > ms then
    ms, number = now, 1
elseif number < 99999 then
    number = number + 1
else
    ms, number = ms + 1, 1
end
local id = id_of(ms, number)

local text = string.sub(ARGV[7], 1, -2) .. ',"event_id":"' .. id .. '"}'
local keep = tonumber(ARGV[6])
local message = head .. ARGV[5] .. ' ' .. string.format('%.0f', math.ceil(keep / 1000))
    .. ' ' .. id .. ' ' .. before .. '\n' .. text
redis.call('XADD', past, string.format('%.0f-%.0f', ms, number), 'm', message)
bytes = bytes + #message
local count = redis.call('XLEN', past)
while count > 0 and (count > max_events or bytes > max_bytes) do
    local oldest = redis.call('XRANGE', past, '-', '+', 'COUNT', 1)[1]
    redis.call('XDEL', past, oldest[1])
    local oldest_ms, oldest_number = string.match(oldest[1], '^(%d+)-(%d+)$')
    floor = id_of(tonumber(oldest_ms), tonumber(oldest_number))
    bytes = bytes - #oldest[2][2]
    count = count - 1
end
redis.call('HSET', bounds, 't', id, 'f', floor, 'b', string.format('%.0f', bytes))
redis.call('PEXPIRE', past, age)
redis.call('PEXPIRE', bounds, age)
if keep > 0 then redis.call('SET', cached, text, 'PX', keep) end
redis.call(ARGV[2], ARGV[1], message)
return id
