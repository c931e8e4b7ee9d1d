-- renew.lua: extend the runner's lease if it is still the caller's.
-- Atomic because: between a check and an expire another runner could take it.
-- KEYS[1]  lease    string, the runner's token
-- ARGV[1]  token
-- ARGV[2]  ttl      milliseconds; 0 gives the lease back
-- Returns  1 done | 0 the lease is not the caller's
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  return redis.call('DEL', KEYS[1])
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
