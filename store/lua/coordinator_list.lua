-- coordinator_list.lua: note in the index that a coordinator lives, and drop those that do not.
-- Atomic because: what has expired is told by the same clock as the new expiry.
-- KEYS[1]  index   zset coordinator id → expiry
-- ARGV[1]  coordinator id
-- ARGV[2]  ttl     milliseconds, >= 1
-- Returns  {id, 1}
-- Twice: the same state.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {ARGV[1], 1}
