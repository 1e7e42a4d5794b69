-- Reads a part of the past of one channel.
--
-- KEYS  1 past, 2 bounds, 3 began: as in record.lua
-- ARGV  1 event after which, or "", 2 event up to which, or "", 3 milliseconds that
--       are kept, 4 events at most
-- Returns { floor, head, message ... }: all events after the floor are kept; whoever
-- comes now is up to date with the head.

if redis.replicate_commands then redis.replicate_commands() end

local past, bounds, began = KEYS[1], KEYS[2], KEYS[3]
local after, up_to, age, limit = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function id_of(ms, number) return string.format('%013.0f-%05.0f', ms, number) end
local function plain(id)
    return string.format('%.0f-%.0f', tonumber(string.sub(id, 1, 13)), tonumber(string.sub(id, 15)))
end

local head = id_of(now, 0)
local known = redis.call('HMGET', bounds, 't', 'f')
if not known[1] then
    redis.call('SET', began, string.format('%.0f', now), 'NX')
    local since = math.max(tonumber(redis.call('GET', began)), now - age)
    return { id_of(since, 0), head }
end
local floor = known[2]
if known[1] > head then head = known[1] end
if after < floor then after = floor end
local oldest = id_of(now - age, 0)
if after < oldest then
    -- Those in between are too old, and only still there because newer ones are.
    local old = redis.call('XRANGE', past, '(' .. plain(after), plain(oldest), 'COUNT', 1)
    if #old > 0 then floor = oldest end
    after = oldest
end
local answer = { floor, head }
if limit > 0 then
    local last = '+'
    if up_to ~= '' then last = plain(up_to) end
    for _, entry in ipairs(redis.call('XRANGE', past, '(' .. plain(after), last, 'COUNT', limit)) do
        table.insert(answer, entry[2][2])
    end
end
return answer
