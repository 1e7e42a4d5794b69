-- Makes the lock of a job last. ARGV: 1 id; 2 token; 3 milliseconds.
-- Answers 0 when the job is somebody else's by now.
local lock = P .. ARGV[1] .. ':lock'
if redis.call('GET', lock) ~= ARGV[2] then
    return 0
end
redis.call('SET', lock, ARGV[2], 'PX', ARGV[3])
redis.call('SREM', P .. 'stalled', ARGV[1])
return 1
