-- session_touch.lua: note that a session is in use.
-- Atomic because: between the check and the write it could expire, and the write would then leave
--   a stump without expiry.
-- KEYS[1]  session   hash
-- ARGV[1]  session id
-- ARGV[2]  ttl       milliseconds, >= 1
-- Returns  {id, 1} touched | {id, 0} no such session | {id, -1} ended; its tombstone keeps its own expiry
-- Twice: the same state.
local known = redis.call('HMGET', KEYS[1], 'id', 'ended')
if known[2] then
  return {ARGV[1], -1}
end
if known[1] ~= ARGV[1] then
  return {ARGV[1], 0}
end
local t = redis.call('TIME')

redis.call('HSET', KEYS[1], 'seen', string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {ARGV[1], 1}
