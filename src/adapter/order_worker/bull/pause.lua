-- Pauses the queue for all its workers, or resumes it. ARGV: 1 `paused` or `resumed`.
local from, to = P .. 'wait', P .. 'paused'
if ARGV[1] == 'paused' then
    redis.call('SET', P .. 'meta-paused', 1)
    redis.call('HSET', P .. 'meta', 'paused', 1)
else
    from, to = to, from
    redis.call('DEL', P .. 'meta-paused')
    redis.call('HDEL', P .. 'meta', 'paused')
end
if redis.call('EXISTS', to) == 0 then
    if redis.call('EXISTS', from) == 1 then
        redis.call('RENAME', from, to)
    end
else
    -- Both have jobs only if somebody died in between; none is forgotten.
    while redis.call('RPOPLPUSH', from, to) do
    end
end
redis.call('PUBLISH', P .. ARGV[1], ARGV[1])
return 0
