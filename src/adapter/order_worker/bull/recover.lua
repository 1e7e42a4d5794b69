-- Looks for jobs whose worker is gone: they were active at the look before, and nobody
-- has renewed their lock. ARGV: 1 now; 2 milliseconds between two looks, whoever makes
-- them; 3 how often a job may be lost; 4 token.
-- Answers the ids that wait again, and ids with names and data that have failed.
local returned, failed = {}, {}
if not redis.call('SET', P .. 'stalled-check', ARGV[1], 'NX', 'PX', ARGV[2]) then
    return { returned, failed }
end
for _, id in ipairs(redis.call('SMEMBERS', P .. 'stalled')) do
    local job = P .. id
    local is_lost = redis.call('EXISTS', job .. ':lock') == 0 and redis.call('LREM', P .. 'active', 1, id) > 0
    if is_lost and not is_job(id) then
        erase(id)
    elseif is_lost and redis.call('HINCRBY', job, 'stalledCounter', 1) > tonumber(ARGV[3]) then
        local fields = redis.call('HMGET', job, 'name', 'data', 'opts')
        failed[#failed + 1] = { id, fields[1] or '', fields[2] }
        redis.call('HSET', job, 'failedReason', 'job stalled more than allowable limit')
        local most, age = -1, -1
        local is_json, options = pcall(cjson.decode, fields[3])
        local rule = is_json and type(options) == 'table' and options['removeOnFail']
        if rule == true then
            most = 0
        elseif type(rule) == 'number' then
            most = rule
        elseif type(rule) == 'table' then
            most = tonumber(rule['count']) or -1
            age = tonumber(rule['age']) or -1
        end
        keep('failed', id, tonumber(ARGV[1]), most, age)
        redis.call('PUBLISH', P .. 'failed', cjson.encode({
            jobId = id,
            val = 'job stalled more than maxStalledCount',
        }))
    elseif is_lost then
        redis.call('RPUSH', waiting_list(), id)
        redis.call('PUBLISH', P .. 'stalled@', id)
        returned[#returned + 1] = id
    end
end
redis.call('DEL', P .. 'stalled')
for _, id in ipairs(redis.call('LRANGE', P .. 'active', 0, -1)) do
    redis.call('SADD', P .. 'stalled', id)
end
return { returned, failed }
