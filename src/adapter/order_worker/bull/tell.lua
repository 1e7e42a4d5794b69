-- Notes how far a job is, or a line of its log, unless it was removed. ARGV: 1 id;
-- 2 `progress` or `log`; 3 the progress or the line; 4 what is told; 5 how many lines are kept.
local job = P .. ARGV[1]
if redis.call('EXISTS', job) == 0 then
    return 0
end
if ARGV[2] == 'progress' then
    redis.call('HSET', job, 'progress', ARGV[3])
    redis.call('PUBLISH', P .. 'progress', ARGV[4])
else
    redis.call('RPUSH', job .. ':logs', ARGV[3])
    redis.call('LTRIM', job .. ':logs', -tonumber(ARGV[5]), -1)
end
return 1
