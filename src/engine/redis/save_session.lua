-- Keeps how far a session is.
--
-- KEYS  1 session, 2 sessions: as in claim_session.lua
-- ARGV  1 to 4 as in claim_session.lua, 5 who holds it or has held it last, 6 its user
--       or "", 7 its sockets, 8 "1" when it was taken while Redis was out of reach, so
--       that whoever held it before does not count, then CHANNEL POSITION ...
-- Returns the number of sessions that were forgotten for it; 0 as well when somebody
-- else has it.

local session, sessions = KEYS[1], KEYS[2]
local holder = redis.call('HGET', session, 'h')
local owner = redis.call('HGET', session, 'u')
if holder and holder ~= ARGV[5] and (ARGV[8] ~= '1' or (owner and owner ~= ARGV[6])) then
    return 0
end
local user = owner or ARGV[6]
redis.call('DEL', session)
redis.call('HSET', session, 'h', ARGV[5], 's', ARGV[7])
if user ~= '' then redis.call('HSET', session, 'u', user) end
for i = 9, #ARGV, 2 do redis.call('HSET', session, 'c' .. ARGV[i], ARGV[i + 1]) end
return keep(sessions, ARGV[2], ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]))
