-- Notes the end of a node.
--
-- KEYS  1 nodes, as in beat.lua
-- ARGV  1 node, 2 "left" when the others have to bury it, "gone" when nothing of
--       it is left

if redis.replicate_commands then redis.replicate_commands() end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', now))
return 1
