-- Gives a connection the session that it names, if it may have it.
--
-- KEYS  1 session  hash: h who holds it, "PROCESS SOCKET"; w since when, in milliseconds
--                  of Unix time; u the user whose it is;
--                  s sockets of it, with spaces; cCHANNEL how far it is there
--       2 sessions, as in keep_session.lua
-- ARGV  1 name, 2 what the keys of sessions begin with, 3 milliseconds that it is
--       kept, 4 sessions that are kept in this partition
--       5 who wants to hold it, 6 its user or "", 7 "1" where sessions belong to users
-- Returns { role, who held it, sessions forgotten for it, fields ... }: role "holder",
-- "guest" or "stranger".

local session, sessions, user, is_bound = KEYS[1], KEYS[2], ARGV[6], ARGV[7] == '1'
local owner = redis.call('HGET', session, 'u')
local is_foreign = is_bound and owner and owner ~= user
if is_foreign and user ~= '' then return { 'stranger', '', '0' } end

local answer = { 'guest', '', '0' }
for _, field in ipairs(redis.call('HGETALL', session)) do table.insert(answer, field) end
if is_foreign then return answer end
answer[1] = 'holder'
answer[2] = redis.call('HGET', session, 'h') or ''
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', session, 'h', ARGV[5], 'w', string.format('%.0f', now))
if is_bound and user ~= '' then redis.call('HSET', session, 'u', user) end
answer[3] = tostring(keep(sessions, ARGV[2], ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])))
return answer
