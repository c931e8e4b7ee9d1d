-- node_deregister.lua: forget a node that says it stops.
-- Atomic because: between the check and the removal another process could register the id.
-- KEYS[1] index  KEYS[2] record  KEYS[3] lease  KEYS[4] rev  KEYS[5] load  KEYS[6] gone
-- ARGV[1]  node id
-- ARGV[2]  epoch           it stops under
-- ARGV[3]  ttl of gone     milliseconds for which a late beat under this epoch is refused
-- Returns  {id, 1} removed | {id, 0} was not there | {id, -1} held under a newer epoch
-- Twice: the same state; the second answers 0.
local epoch = tonumber(ARGV[2])
local known = tonumber(redis.call('HGET', KEYS[2], 'epoch') or '')
local leased = tonumber(redis.call('HGET', KEYS[3], 'epoch') or '')
if (known and known > epoch) or (leased and leased > epoch) then
  return {ARGV[1], -1}
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local rev = math.max((tonumber(redis.call('GET', KEYS[4]) or '') or 0) + 1, t[1] * 1000000 + t[2])
local gone = tonumber(redis.call('GET', KEYS[6]) or '') or 0

if gone <= epoch then
  redis.call('SET', KEYS[6], ARGV[2], 'PX', ARGV[3])
end
local removed = redis.call('DEL', KEYS[2])
redis.call('DEL', KEYS[3])
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
redis.call('SET', KEYS[4], string.format('%.0f', rev))
return {ARGV[1], removed}
