-- node_sweep.lua: mark the nodes whose lease has lapsed unhealthy.
-- Atomic because: each lapse is to be announced once in the fleet, so one caller must be the first.
-- KEYS[1] index  KEYS[2] rev
-- ARGV[1]  stem of the record keys    in the slot of KEYS
-- ARGV[2]  stem of the lease keys     in the slot of KEYS
-- Returns  {now ms, {id, last heartbeat, HGETALL}, …} of the nodes that this call marked
-- Index members without a readable record are dropped, and what stands in its place: a beat writes it anew.
-- Twice: the second marks nothing.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local members = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local lapsed, orphans = {}, {}
for i = 1, #members, 2 do
  if redis.call('EXISTS', ARGV[2] .. members[i]) == 0 then
    local state = redis.pcall('HGET', ARGV[1] .. members[i], 'state')
    if not state or type(state) == 'table' then
      orphans[#orphans + 1] = members[i]
    elseif state ~= 'unhealthy' then
      lapsed[#lapsed + 1] = i
    end
  end
end
local rev = tonumber(redis.call('GET', KEYS[2]) or '') or 0

local out = {now}
for _, i in ipairs(lapsed) do
  local key = ARGV[1] .. members[i]
  redis.call('HSET', key, 'state', 'unhealthy', 'lapsed', string.format('%.0f', now))
  out[#out + 1] = {members[i], members[i + 1], redis.call('HGETALL', key)}
end
for _, id in ipairs(orphans) do
  redis.call('DEL', ARGV[1] .. id)
  redis.call('ZREM', KEYS[1], id)
end
if #lapsed + #orphans > 0 then
  redis.call('SET', KEYS[2], string.format('%.0f', math.max(rev + 1, t[1] * 1000000 + t[2])))
end
return out
