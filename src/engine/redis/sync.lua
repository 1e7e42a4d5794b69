-- Makes what one node has of one topic true in the registry, and tells the edges.
--
-- KEYS  1 topic      hash: v version, t subscriptions, n users, s:NODE count of a
--                    node, m:NODE:USER info of a member there, u:USER nodes with it
--       2 index      hash: topic -> "subscriptions users", of topics in use
--       3 held       set: topics in which the node has something
--       4 tombstone  exists once the node was declared dead
--       5 memo       the last request of the node for this topic, with its edges
--       6 holds      sorted set: departures nobody was told of yet, as in claim.lua
-- ARGV  1 node, 2 topic, 3 pub/sub topic, 4 command that publishes, 5 request,
--       6 mode: "change", "restore" (the registry forgot; make no edges of what
--         it knew before) or "bury" (the node is dead; it has nothing any more)
--       7 subscriptions now, 8 subscriptions that the registry should have,
--       9 message for the other nodes, or "" when nothing changes
--      10 "1" when the whole topic is to be returned
--      11 milliseconds that departures are held back, or 0 when nobody is told
--      12 number of members that the registry should have, then USER INFO ...,
--         number of new members, then USER INFO ..., then users that left
-- Returns { state, version, edges, topic }: state "ok", "dead" or "lost". Edges are
-- o occupied, v vacated, +USER came, -USER left; O and *USER for those who came back
-- while their departure was held, which then is not told.

-- Before Redis 7 this is not the default, and HGETALL has no order of its own.
if redis.replicate_commands then redis.replicate_commands() end

local topic, index, held, tombstone, memo = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local holds, hold = KEYS[6], tonumber(ARGV[11])
local node, name, mode, request = ARGV[1], ARGV[2], ARGV[6], ARGV[5]
local count, known = tonumber(ARGV[7]), tonumber(ARGV[8])
local count_field = 's:' .. node
local member_prefix = 'm:' .. node .. ':'

local function whole()
    if ARGV[10] == '1' then return redis.call('HGETALL', topic) end
    return {}
end

if mode == 'bury' then
    redis.call('SET', tombstone, '1', 'EX', 86400)
elseif redis.call('EXISTS', tombstone) == 1 then
    return { 'dead' }
end
if mode == 'change' and known > 0 and redis.call('HEXISTS', topic, count_field) == 0 then
    return { 'lost' }
end

local letter = 'D'
local version = tonumber(redis.call('HGET', topic, 'v') or '')
if not version then
    if mode == 'change' then letter = 'N' end
    -- Above every version of an earlier life of the topic.
    local time = redis.call('TIME')
    version = time[1] * 1000000 + time[2]
end

-- The answer to the same request was lost; what it did is done.
local before = redis.call('GET', memo)
if before and mode ~= 'bury' then
    local edges = cjson.decode(before)
    if table.remove(edges, 1) == request then
        return { 'ok', string.format('%.0f', version), edges, whole() }
    end
end

local edges = {}

local function came(edge, departure, returned)
    if hold > 0 and redis.call('ZREM', holds, name .. '\n' .. departure) == 1 then
        edge = returned
    end
    table.insert(edges, edge)
end

local function left(edge)
    table.insert(edges, edge)
    if hold == 0 then return end
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    redis.call('ZADD', holds, string.format('%.0f', now + hold), name .. '\n' .. edge)
    -- What nobody has claimed for an hour nobody wants.
    redis.call('ZREMRANGEBYSCORE', holds, '-inf', string.format('%.0f', now - 3600000))
end

local users = tonumber(redis.call('HGET', topic, 'n') or '0')
local subscriptions = tonumber(redis.call('HGET', topic, 't') or '0')

local function set_count(new, is_quiet)
    local old = tonumber(redis.call('HGET', topic, count_field) or '0')
    local total = subscriptions - old + new
    if new > 0 then
        redis.call('HSET', topic, count_field, new)
    else
        redis.call('HDEL', topic, count_field)
    end
    if not is_quiet and subscriptions == 0 and total > 0 then
        came('o', 'v', 'O')
    end
    local is_vacated = subscriptions > 0 and total == 0
    subscriptions = total
    return is_vacated
end

local function add(user, info, is_quiet)
    local is_new = redis.call('HSET', topic, member_prefix .. user, info) == 1
    if is_new and redis.call('HINCRBY', topic, 'u:' .. user, 1) == 1 then
        users = users + 1
        if not is_quiet then came('+' .. user, '-' .. user, '*' .. user) end
    end
end

local function remove(user)
    local was_there = redis.call('HDEL', topic, member_prefix .. user) == 1
    if was_there and redis.call('HINCRBY', topic, 'u:' .. user, -1) <= 0 then
        redis.call('HDEL', topic, 'u:' .. user)
        users = users - 1
        left('-' .. user)
    end
end

local next_argument = 13
local function each_pair(pairs_given, visit)
    for _ = 1, pairs_given do
        visit(ARGV[next_argument], ARGV[next_argument + 1])
        next_argument = next_argument + 2
    end
end

local pairs_known = tonumber(ARGV[12])
if mode == 'restore' then
    set_count(known, true)
    each_pair(pairs_known, function(user, info) add(user, info, true) end)
else
    next_argument = next_argument + 2 * pairs_known
end
local pairs_new = tonumber(ARGV[next_argument])
next_argument = next_argument + 1

local is_vacated = set_count(count, false)
each_pair(pairs_new, function(user, info) add(user, info, false) end)
if mode == 'bury' then
    local fields = redis.call('HKEYS', topic)
    for _, field in ipairs(fields) do
        if string.sub(field, 1, #member_prefix) == member_prefix then
            remove(string.sub(field, #member_prefix + 1))
        end
    end
else
    for i = next_argument, #ARGV do remove(ARGV[i]) end
end
if is_vacated then left('v') end

if ARGV[9] ~= '' then version = version + 1 end
local version_text = string.format('%.0f', version)
if subscriptions > 0 then
    redis.call('HSET', topic, 'v', version_text, 't', subscriptions, 'n', users)
    redis.call('HSET', index, name, subscriptions .. ' ' .. users)
else
    redis.call('DEL', topic)
    redis.call('HDEL', index, name)
end
if count > 0 then
    redis.call('SADD', held, name)
else
    redis.call('SREM', held, name)
end
if mode ~= 'bury' and #edges > 0 then
    local entry = { request }
    for _, edge in ipairs(edges) do table.insert(entry, edge) end
    redis.call('SET', memo, cjson.encode(entry), 'EX', 900)
end
if ARGV[9] ~= '' then
    redis.call(ARGV[4], ARGV[3], letter .. version_text .. '\n' .. ARGV[9])
end
return { 'ok', version_text, edges, whole() }
