-- Lets a job that has failed wait again, as somebody asks for. ARGV: 1 id; 2 now;
-- 3 token. Zero, or -1: there is no job, -2: it has not failed.
local id = ARGV[1]
if not is_job(id) then
    return -1
end
if redis.call('ZREM', P .. 'failed', id) == 0 then
    return -2
end
redis.call('HDEL', P .. id, 'finishedOn', 'failedReason', 'returnvalue', 'processedOn')
redis.call('HSET', P .. id, 'retriedOn', ARGV[2])
enqueue(id, 0, false, ARGV[3])
return 0
