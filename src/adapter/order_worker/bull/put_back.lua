-- Gives a job back: to wait, or until a time. ARGV: 1 id; 2 token; 3 the time, or
-- nothing; 4 its score among the delayed; 5 priority; 6 whether it is the next one;
-- 7 attempts made, or nothing; 8 their traces; 9 why the last one failed.
local id = ARGV[1]
local refusal = let_go(id, ARGV[2])
if refusal < 0 then
    return refusal
end
note_attempt(id, ARGV[7], ARGV[8], ARGV[9])
if ARGV[3] ~= '' then
    redis.call('ZADD', P .. 'delayed', ARGV[4], id)
    redis.call('PUBLISH', P .. 'delayed', ARGV[3])
else
    enqueue(id, tonumber(ARGV[5]), ARGV[6] == '1', ARGV[2])
end
return 0
