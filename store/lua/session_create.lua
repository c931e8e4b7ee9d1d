-- session_create.lua: write a session, or write back one that Redis has forgotten.
-- Atomic because: several coordinators may write one session back, and another may just have ended it.
-- KEYS[1]  session           hash
-- ARGV[1]  session id
-- ARGV[2]  ttl               milliseconds, >= 1
-- ARGV[3]  created           milliseconds; 0 = now
-- ARGV[4…] field, value, …   what stands already is kept
-- Returns  {id, 1, now ms} written | {id, 0, now ms} it was there: completed and refreshed | {id, -1} ended
-- Twice: the same state.
local known = redis.call('HMGET', KEYS[1], 'id', 'ended')
if known[2] then
  return {ARGV[1], -1}
end
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
local created = ARGV[3]
if created == '0' then
  created = now
end

redis.call('HSETNX', KEYS[1], 'id', ARGV[1])
redis.call('HSETNX', KEYS[1], 'created', created)
for i = 4, #ARGV, 2 do
  redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('HSET', KEYS[1], 'seen', now)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {ARGV[1], known[1] and 0 or 1, now}
