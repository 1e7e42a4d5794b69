-- Gives a connection the session that it names, if it may have it.
--
-- KEYS  1 session  hash: h who holds it, "PROCESS SOCKET"; u the user whose it is;
--                  s sockets of it, with spaces; cCHANNEL how far it is there
--       2 sessions sorted set: name -> milliseconds at which it is forgotten
-- ARGV  1 name, 2 who wants to hold it, 3 its user or "", 4 "1" where sessions belong
--       to users, 5 milliseconds that it is kept, 6 sessions that are kept in this
--       partition, 7 what the keys of sessions begin with
-- Returns { role, who held it, sessions forgotten for it, fields ... }: role "holder",
-- "guest" or "stranger".

if redis.replicate_commands then redis.replicate_commands() end

local session, sessions = KEYS[1], KEYS[2]
local owner = redis.call('HGET', session, 'u')
if ARGV[4] == '1' and owner and owner ~= ARGV[3] then
    if ARGV[3] ~= '' then return { 'stranger', '', '0' } end
    local answer = { 'guest', '', '0' }
    for _, field in ipairs(redis.call('HGETALL', session)) do table.insert(answer, field) end
    return answer
end
local before = redis.call('HGET', session, 'h') or ''
local answer = { 'holder', before, '0' }
for _, field in ipairs(redis.call('HGETALL', session)) do table.insert(answer, field) end
redis.call('HSET', session, 'h', ARGV[2])
if ARGV[4] == '1' and ARGV[3] ~= '' then redis.call('HSET', session, 'u', ARGV[3]) end
redis.call('PEXPIRE', session, ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', sessions, string.format('%.0f', now + tonumber(ARGV[5])), ARGV[1])
redis.call('ZREMRANGEBYSCORE', sessions, '-inf', string.format('%.0f', now))
local excess = redis.call('ZCARD', sessions) - tonumber(ARGV[6])
if excess > 0 then
    -- Those that would end first, a few at a time.
    local first = redis.call('ZRANGE', sessions, 0, math.min(excess, 100) - 1)
    for _, name in ipairs(first) do
        redis.call('DEL', ARGV[7] .. name)
        redis.call('ZREM', sessions, name)
    end
    answer[3] = tostring(#first)
end
return answer
