-- node_register.lua: give a node id to a process, under a new epoch.
-- Atomic because: two processes may register one id at the same moment; one must see the other.
-- KEYS[1] index  KEYS[2] record  KEYS[3] lease  KEYS[4] rev  KEYS[5] epoch  KEYS[6] load  KEYS[7] gone
-- ARGV[1]  node id
-- ARGV[2]  instance
-- ARGV[3]  ttl of the lease     milliseconds, >= 1
-- ARGV[4]  floor                highest epoch the caller has seen; the new one is above it
-- ARGV[5]  take over            1: also from a live process
-- ARGV[6]  load                 JSON
-- ARGV[7…] field, value, …      of the record
-- Returns  {id, epoch, now ms} | {id, 0, HGETALL of the holder's record}
-- Twice: a second epoch for the same process; it uses the answer it got.
local held = redis.call('HGET', KEYS[3], 'instance')
if held and held ~= ARGV[2] and ARGV[5] ~= '1' then
  return {ARGV[1], 0, redis.call('HGETALL', KEYS[2])}
end
local known = redis.call('HGET', KEYS[2], 'epoch')
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local epoch = math.max(
  tonumber(redis.call('GET', KEYS[5]) or '') or 0,
  tonumber(redis.call('GET', KEYS[7]) or '') or 0,
  tonumber(known or '') or 0,
  tonumber(ARGV[4])) + 1
local rev = math.max((tonumber(redis.call('GET', KEYS[4]) or '') or 0) + 1, t[1] * 1000000 + t[2])

local text, at = string.format('%.0f', epoch), string.format('%.0f', now)
redis.call('SET', KEYS[5], text)
redis.call('HSET', KEYS[2], 'id', ARGV[1], 'instance', ARGV[2], 'epoch', text, 'registered', at)
for i = 7, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
redis.call('HDEL', KEYS[2], 'lapsed')
redis.call('HSET', KEYS[3], 'instance', ARGV[2], 'epoch', text)
redis.call('PEXPIRE', KEYS[3], ARGV[3])
redis.call('ZADD', KEYS[1], at, ARGV[1])
redis.call('HSET', KEYS[6], ARGV[1], ARGV[6])
redis.call('SET', KEYS[4], string.format('%.0f', rev))
return {ARGV[1], epoch, now}
