-- session_claim.lua: keep a place for a session among those of its subject, if there is one left.
-- Atomic because: of sessions that begin at once, only as many may as there are places.
-- KEYS[1]  sessions of the subject   zset sid → expiry
-- ARGV[1]  session id
-- ARGV[2]  most                      how many the subject may have, >= 1
-- ARGV[3]  ttl                       of the place, milliseconds, >= 1
-- Returns  {id, 1} it has a place | {id, 0} the subject has as many as it may
-- Twice: the same state.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
    return {ARGV[1], 0}
  end
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[3])), ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3], 'NX')
redis.call('PEXPIRE', KEYS[1], ARGV[3], 'GT')
return {ARGV[1], 1}
