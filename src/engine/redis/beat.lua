-- A sign of life of one node, and the state of the others.
--
-- KEYS  1 nodes  hash: node -> time of its last sign of life in milliseconds,
--                or "dead TIME" or "left TIME" until it is buried, or "gone TIME"
--                for a day;
--                "!grace" -> time until which nobody is declared dead
-- ARGV  1 node
--       2 milliseconds without a sign of life after which a node is dead
--       3 milliseconds without a sign of life of any node at all after which it
--         is Redis that was away, and everybody gets time to come back
-- Returns { state, nodes alive, number of nodes that died, nodes to be buried ... },
-- those that died first: state is "known", "new" (this is the first sign, or the
-- registry has forgotten the node) or "dead".

if redis.replicate_commands then redis.replicate_commands() end

local nodes, me, patience = KEYS[1], ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local now_text = string.format('%.0f', now)

local state = 'known'
local mine = redis.call('HGET', nodes, me)
if not mine then
    state = 'new'
elseif not tonumber(mine) then
    return { 'dead', 0, 0 }
end

local all = redis.call('HGETALL', nodes)
local grace, latest = 0, 0
for i = 1, #all, 2 do
    local seen = tonumber(all[i + 1])
    if all[i] == '!grace' then
        grace = seen
    elseif seen and seen > latest then
        latest = seen
    end
end
if latest > 0 and now - latest > tonumber(ARGV[3]) then
    grace = now + patience
    redis.call('HSET', nodes, '!grace', string.format('%.0f', grace))
end
redis.call('HSET', nodes, me, now_text)

local alive, dead, left = 1, {}, {}
for i = 1, #all, 2 do
    local node, seen = all[i], tonumber(all[i + 1])
    if node == me or node == '!grace' then
        -- Counted already, and no node.
    elseif seen and (now - seen <= patience or now < grace) then
        alive = alive + 1
    elseif seen then
        redis.call('HSET', nodes, node, 'dead ' .. now_text)
        table.insert(dead, node)
    elseif string.sub(all[i + 1], 1, 4) == 'dead' then
        table.insert(dead, node)
    elseif string.sub(all[i + 1], 1, 4) == 'left' then
        table.insert(left, node)
    elseif now - (tonumber(string.sub(all[i + 1], 6)) or 0) > 86400000 then
        redis.call('HDEL', nodes, node)
    end
end
local answer = { state, alive, #dead }
for _, node in ipairs(dead) do table.insert(answer, node) end
for _, node in ipairs(left) do table.insert(answer, node) end
return answer
