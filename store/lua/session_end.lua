-- session_end.lua: replace a session by a tombstone, so that no replica writes it back.
-- Atomic because: a reader must see the session or the tombstone, never nothing.
-- KEYS[1]  session         hash
-- KEYS[2]  subscriptions   set; they end with it
-- ARGV[1]  session id
-- ARGV[2]  ttl       of the tombstone, milliseconds, >= 1
-- Returns  {id, 1, subject} ended | {id, 0} it was unknown or ended already
-- Twice: the same state.
local known = redis.call('HMGET', KEYS[1], 'id', 'ended', 'subject')
local t = redis.call('TIME')

redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'ended', string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000)))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if known[1] and not known[2] then
  return {ARGV[1], 1, known[3] or ''}
end
return {ARGV[1], 0}
