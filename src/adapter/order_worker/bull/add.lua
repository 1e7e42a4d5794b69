-- Adds a job. ARGV: 1 an id, or nothing for the next number; 2 name; 3 data; 4 options;
-- 5 time of its creation; 6 delay in milliseconds; 7 when it is over, times 4096;
-- 8 priority; 9 whether it is the next one; 10 token. Answers its id.
local number = redis.call('INCR', P .. 'id')
local id = ARGV[1]
if id == '' then
    id = tostring(number)
elseif redis.call('EXISTS', P .. id) == 1 then
    redis.call('PUBLISH', P .. 'duplicated@' .. ARGV[10], id)
    return id
end
redis.call('HSET', P .. id, 'name', ARGV[2], 'data', ARGV[3], 'opts', ARGV[4],
    'timestamp', ARGV[5], 'delay', ARGV[6], 'priority', ARGV[8])
if tonumber(ARGV[6]) > 0 then
    -- Jobs of one millisecond keep their order by what is left of their numbers.
    local score = tonumber(ARGV[7]) + number % 4096
    redis.call('ZADD', P .. 'delayed', string.format('%.0f', score), id)
    redis.call('PUBLISH', P .. 'delayed', string.format('%.0f', math.floor(score / 4096)))
else
    enqueue(id, tonumber(ARGV[8]), ARGV[9] == '1', ARGV[10])
end
return id
