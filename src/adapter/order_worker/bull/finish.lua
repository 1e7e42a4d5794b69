-- Ends a job. ARGV: 1 id; 2 token; 3 now; 4 `completed` or `failed`; 5 the field for
-- the outcome; 6 the outcome; 7 what is told of it; 8 how many are kept; 9 for how
-- many seconds; 10 attempts made, or nothing; 11 their traces.
local id = ARGV[1]
local refusal = let_go(id, ARGV[2])
if refusal < 0 then
    return refusal
end
local debounced = redis.call('HGET', P .. id, 'deid')
if debounced and redis.call('PTTL', P .. 'de:' .. debounced) == -1 then
    redis.call('DEL', P .. 'de:' .. debounced)
end
note_attempt(id, ARGV[10], ARGV[11], ARGV[6])
redis.call('HSET', P .. id, ARGV[5], ARGV[6])
keep(ARGV[4], id, tonumber(ARGV[3]), tonumber(ARGV[8]), tonumber(ARGV[9]))
redis.call('PUBLISH', P .. ARGV[4], ARGV[7])
return 0
