-- Keeps how far a session is.
--
-- KEYS  1 session, 2 sessions: as in claim_session.lua
-- ARGV  1 to 4 as in claim_session.lua, 5 who holds it or has held it last, 6 its user
--       or "", 7 its sockets, 8 milliseconds since it was taken without Redis, or "":
--       whoever had taken it before that does not count, then CHANNEL POSITION ...
-- Returns the number of sessions that were forgotten for it; 0 as well when somebody
-- else has it.

local session, sessions = KEYS[1], KEYS[2]
local known = redis.call('HMGET', session, 'h', 'u', 'w')
local holder, owner, taken = known[1], known[2], tonumber(known[3] or '0')
local alone = tonumber(ARGV[8])
local since
if alone then
    local time = redis.call('TIME')
    since = time[1] * 1000 + math.floor(time[2] / 1000) - alone
end
if holder and holder ~= ARGV[5] then
    if not since or taken >= since or (owner and owner ~= ARGV[6]) then return 0 end
end
if since and since > taken then taken = since end
local user = owner or ARGV[6]
redis.call('DEL', session)
redis.call('HSET', session, 'h', ARGV[5], 's', ARGV[7], 'w', string.format('%.0f', taken))
if user ~= '' then redis.call('HSET', session, 'u', user) end
for i = 9, #ARGV, 2 do redis.call('HSET', session, 'c' .. ARGV[i], ARGV[i + 1]) end
return keep(sessions, ARGV[2], ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]))
