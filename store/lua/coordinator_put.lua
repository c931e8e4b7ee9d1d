-- coordinator_put.lua: write what a coordinator says of itself.
-- Atomic because: the record is never without an expiry, and when it joined is decided once.
-- KEYS[1]  record            hash
-- ARGV[1]  coordinator id
-- ARGV[2]  ttl               milliseconds, >= 1
-- ARGV[3]  joined            milliseconds, as an earlier answer gave it; 0 = not known yet
-- ARGV[4…] field, value, …
-- Returns  {id, joined, now ms}
-- Twice: the same state but for the time it was seen.
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
local joined = ARGV[3]
if joined == '0' then
  joined = redis.call('HGET', KEYS[1], 'joined') or now
end

redis.call('HSET', KEYS[1], 'id', ARGV[1], 'joined', joined, 'seen', now)
for i = 4, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {ARGV[1], joined, now}
