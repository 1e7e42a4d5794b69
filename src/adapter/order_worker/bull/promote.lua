-- Lets delayed jobs wait whose time has come. ARGV: 1 the highest score that is due;
-- 2 token. Answers how many there were, at most a thousand at a time.
local due = redis.call('ZRANGEBYSCORE', P .. 'delayed', 0, ARGV[1], 'LIMIT', 0, 1000)
for _, id in ipairs(due) do
    redis.call('ZREM', P .. 'delayed', id)
    redis.call('LREM', P .. 'active', 0, id)
    if is_job(id) then
        redis.call('HSET', P .. id, 'delay', 0)
        enqueue(id, tonumber(redis.call('HGET', P .. id, 'priority')) or 0, false, ARGV[2])
    else
        erase(id)
    end
end
return #due
