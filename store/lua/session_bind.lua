-- session_bind.lua: move a session's binding for one server, if it still is what the caller thinks.
-- Atomic because: two coordinators failing the same session over must agree on one node.
-- KEYS[1]  session   hash
-- ARGV[1]  session id
-- ARGV[2]  ttl       milliseconds, >= 1
-- ARGV[3]  field     bind:<server>
-- ARGV[4]  old       node#epoch, or '' for none
-- ARGV[5]  new       node#epoch, or '' for none
-- Returns  {id, 1, binding that stands now} | {id, 0} no such session | {id, -1} ended
-- Twice: the same state, for new stands already.
local known = redis.call('HMGET', KEYS[1], 'id', 'ended', ARGV[3])
if known[2] then
  return {ARGV[1], -1}
end
if known[1] ~= ARGV[1] then
  return {ARGV[1], 0}
end
local stands = known[3] or ''

if stands == ARGV[4] and stands ~= ARGV[5] then
  stands = ARGV[5]
  if stands == '' then
    redis.call('HDEL', KEYS[1], ARGV[3])
  else
    redis.call('HSET', KEYS[1], ARGV[3], stands)
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {ARGV[1], 1, stands}
