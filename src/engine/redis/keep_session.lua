-- Stands before claim_session.lua and save_session.lua.

if redis.replicate_commands then redis.replicate_commands() end

-- Notes when a session is forgotten, and forgets those that would be first where there
-- are too many, a few at a time. Returns how many that were.
--
-- sessions  sorted set: name -> milliseconds at which it is forgotten
-- base      what the keys of sessions begin with
local function keep(sessions, base, name, milliseconds, max_sessions)
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    redis.call('PEXPIRE', base .. name, milliseconds)
    redis.call('ZADD', sessions, string.format('%.0f', now + milliseconds), name)
    redis.call('ZREMRANGEBYSCORE', sessions, '-inf', string.format('%.0f', now))
    local excess = math.min(redis.call('ZCARD', sessions) - max_sessions, 100)
    if excess <= 0 then return 0 end
    for _, first in ipairs(redis.call('ZRANGE', sessions, 0, excess - 1)) do
        redis.call('DEL', base .. first)
        redis.call('ZREM', sessions, first)
    end
    return excess
end

