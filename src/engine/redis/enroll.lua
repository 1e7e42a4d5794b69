-- Notes that a node is about to write into a partition of the registry, so that
-- whoever buries it knows where to look.
--
-- KEYS  1 nodes, as in beat.lua; 2 set: partitions of the node
-- ARGV  1 node, 2... partitions
-- Returns 1, or 0 if the node is not alive.

if not tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '') then return 0 end
for i = 2, #ARGV do redis.call('SADD', KEYS[2], ARGV[i]) end
return 1
