-- init_keep.lua: keep the initialize params of a client for as long as the session that is written with them.
-- Atomic because: the life that stands may be longer, and is not to be cut short.
-- KEYS[1]  params   string, named by its digest
-- ARGV[1]  digest
-- ARGV[2]  ttl      milliseconds, >= 1
-- ARGV[3]  params
-- Returns  {digest, 1}
-- Twice: the same state.
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[2])
end
return {ARGV[1], 1}
