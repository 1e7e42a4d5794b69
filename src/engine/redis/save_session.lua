-- Keeps how far a session is.
--
-- KEYS  1 session, 2 sessions: as in claim_session.lua
-- ARGV  1 name, 2 who holds it or has held it last, 3 its user or "", 4 its sockets,
--       5 milliseconds that it is kept, then CHANNEL POSITION ...
-- Returns 1, or 0 when somebody else has it.

if redis.replicate_commands then redis.replicate_commands() end

local session, sessions = KEYS[1], KEYS[2]
local holder = redis.call('HGET', session, 'h')
if holder and holder ~= ARGV[2] then return 0 end
local user = redis.call('HGET', session, 'u') or ARGV[3]
redis.call('DEL', session)
redis.call('HSET', session, 'h', ARGV[2], 's', ARGV[4])
if user ~= '' then redis.call('HSET', session, 'u', user) end
for i = 6, #ARGV, 2 do redis.call('HSET', session, 'c' .. ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', session, ARGV[5])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', sessions, string.format('%.0f', now + tonumber(ARGV[5])), ARGV[1])
return 1
