-- Gives a job to a worker.
--
-- ARGV: 1 an id that was moved to `active` before, or nothing for the next one;
-- 2 token of the worker; 3 milliseconds of its lock; 4 now.
-- Answers how many ids had no job behind them, then perhaps an id and the fields of
-- its job.
local id, token = ARGV[1], ARGV[2]
local ghosts = 0
repeat
    if id == '' then
        id = redis.call('RPOPLPUSH', P .. 'wait', P .. 'active')
    end
    if id then
        local job = P .. id
        redis.call('SREM', P .. 'stalled', id)
        redis.call('ZREM', P .. 'priority', id)
        if is_job(id) then
            redis.call('SET', job .. ':lock', token, 'PX', ARGV[3])
            redis.call('HSET', job, 'processedOn', ARGV[4])
            redis.call('PUBLISH', P .. 'active@' .. token, id)
            return { ghosts, id, redis.call('HGETALL', job) }
        end
        redis.call('LREM', P .. 'active', -1, id)
        erase(id)
        ghosts = ghosts + 1
        id = ''
    end
until not id or ghosts == 1000
return { ghosts }
