-- Whether anything has come on a channel after a position.
--
-- KEYS  1 bounds, as in record.lua
-- ARGV  1 position
-- Returns the position, moved to the present if nothing has come after it: then it
-- does not grow old.

if redis.replicate_commands then redis.replicate_commands() end

local newest = redis.call('HGET', KEYS[1], 't')
if newest and newest > ARGV[1] then return ARGV[1] end
local time = redis.call('TIME')
local now = string.format('%013.0f-%05.0f', time[1] * 1000 + math.floor(time[2] / 1000), 0)
if now > ARGV[1] then return now end
return ARGV[1]
