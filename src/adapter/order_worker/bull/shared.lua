-- What the scripts of this folder have in common; each begins with it.
--
-- KEYS[1] is what all keys of the queue begin with. On a Redis Cluster its hash tag
-- keeps them in one slot, so the other names are made of it here.
local P = KEYS[1]

-- The list in which jobs wait: another one stands in for it while the queue is paused.
local function waiting_list()
    if redis.call('EXISTS', P .. 'meta-paused') == 1 then
        return P .. 'paused'
    end
    return P .. 'wait'
end

-- Lets a job wait. The right end of the list is taken first: those with a priority
-- stand there, in the order of their numbers.
local function enqueue(id, priority, is_first, token)
    local list = waiting_list()
    if priority > 0 then
        redis.call('ZADD', P .. 'priority', priority, id)
        local before = redis.call('ZCOUNT', P .. 'priority', 0, priority) - 1
        local place = redis.call('LLEN', list) - before
        local next = before > 0 and redis.call('LINDEX', list, math.max(place, 0))
        if next then
            redis.call('LINSERT', list, 'BEFORE', next, id)
        else
            redis.call('RPUSH', list, id)
        end
    elseif is_first then
        redis.call('RPUSH', list, id)
    else
        redis.call('LPUSH', list, id)
    end
    redis.call('PUBLISH', P .. 'waiting@' .. token, id)
end

-- Takes a job out of the hands of the worker that has it. Zero, or why not: -1 there
-- is no job, -2 it is not locked, -3 it is not active, -6 another worker has it.
local function let_go(id, token)
    local job = P .. id
    if redis.call('EXISTS', job) == 0 then
        return -1
    end
    local holder = redis.call('GET', job .. ':lock')
    if not holder then
        return -2
    end
    if holder ~= token then
        return -6
    end
    if redis.call('LREM', P .. 'active', -1, id) < 1 then
        return -3
    end
    redis.call('DEL', job .. ':lock')
    redis.call('SREM', P .. 'stalled', id)
    return 0
end

-- Removes all that belongs to a job.
local function erase(id)
    local job = P .. id
    redis.call('DEL', job, job .. ':logs', job .. ':lock')
end

-- Whether there is a job behind an id. Ids can outlive their jobs, and a field that is
-- written then would make half a job.
local function is_job(id)
    return redis.call('HEXISTS', P .. id, 'data') == 1 and redis.call('HEXISTS', P .. id, 'opts') == 1
end

-- Notes what an attempt left behind; `made` is empty when it does not count.
local function note_attempt(id, made, stacktrace, reason)
    if made ~= '' then
        redis.call('HSET', P .. id, 'attemptsMade', made, 'stacktrace', stacktrace, 'failedReason', reason)
    end
end

-- Keeps a job that has ended, as its options want it: `most` of them, -1 for all;
-- `age` in seconds, -1 for ever. A thousand old ones go at a time.
local function keep(set, id, now, most, age)
    if most == 0 then
        erase(id)
        return
    end
    local ended = P .. set
    redis.call('ZADD', ended, now, id)
    redis.call('HSET', P .. id, 'finishedOn', now)
    local old = {}
    if age >= 0 then
        old = redis.call('ZRANGEBYSCORE', ended, '-inf', now - age * 1000, 'LIMIT', 0, 1000)
    end
    if most > 0 then
        for _, other in ipairs(redis.call('ZREVRANGE', ended, most, most + 999)) do
            old[#old + 1] = other
        end
    end
    for _, other in ipairs(old) do
        redis.call('ZREM', ended, other)
        erase(other)
    end
end
