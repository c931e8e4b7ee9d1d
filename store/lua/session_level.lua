-- session_level.lua: note the log level that a session's client asked for.
-- Atomic because: writing to a session that has just expired would leave a stump that never expires.
-- KEYS[1]  session   hash
-- ARGV[1]  session id
-- ARGV[2]  level     debug, info, …
-- Returns  {id, 1} set | {id, 0} no such session | {id, -1} ended
-- Twice: the same state.
local known = redis.call('HMGET', KEYS[1], 'id', 'ended')
if known[2] then
  return {ARGV[1], -1}
end
if known[1] ~= ARGV[1] then
  return {ARGV[1], 0}
end

redis.call('HSET', KEYS[1], 'level', ARGV[2])
return {ARGV[1], 1}
