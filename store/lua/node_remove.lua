-- node_remove.lua: forget the nodes that have been unhealthy for long.
-- Atomic because: a node may come back between the check and the removal.
-- KEYS[1] index  KEYS[2] rev  KEYS[3] load
-- ARGV[1]  stem of the record keys    in the slot of KEYS
-- ARGV[2]  stem of the lease keys     in the slot of KEYS
-- ARGV[3]  age                        milliseconds since it was marked, >= 0
-- Returns  {now ms, {id, last heartbeat, HGETALL}, …} of the nodes that this call removed
-- Twice: the second removes nothing.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local members = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
local old = {}
for i = 1, #members, 2 do
  local record = redis.pcall('HMGET', ARGV[1] .. members[i], 'state', 'lapsed')
  if record[1] == 'unhealthy' and redis.call('EXISTS', ARGV[2] .. members[i]) == 0 then
    local since = tonumber(record[2] or '') or tonumber(members[i + 1])
    if now - since >= tonumber(ARGV[3]) then
      old[#old + 1] = i
    end
  end
end
local rev = tonumber(redis.call('GET', KEYS[2]) or '') or 0

local out = {now}
for _, i in ipairs(old) do
  local key = ARGV[1] .. members[i]
  out[#out + 1] = {members[i], members[i + 1], redis.call('HGETALL', key)}
  redis.call('DEL', key)
  redis.call('ZREM', KEYS[1], members[i])
  redis.call('HDEL', KEYS[3], members[i])
end
if #old > 0 then
  redis.call('SET', KEYS[2], string.format('%.0f', math.max(rev + 1, t[1] * 1000000 + t[2])))
end
return out
